"""Console logs: files that QEMU appends to without end, kept small from outside.

QEMU holds the file open in append mode, so it can't be rotated; instead the blocks of its older part are given back to
the file system by punching a hole, which loses no line that is written meanwhile. The file's length goes on
growing, its use of the disk stays bounded.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

KEEP_BYTES = 512 * 1024
"""How much of a log can be read back; Nova's own bound on what it shows is 100 KiB."""

_BLOCK_BYTES = 4096
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def read_tail(path: Path, lines: int) -> str:
    """The last ``lines`` lines, -1 for all of the last KEEP_BYTES; empty when there is no such file. Blocking."""
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            start = max(0, size_bytes - KEEP_BYTES)
            file.seek(start)
            data = file.read(KEEP_BYTES).lstrip(b"\0")
    except FileNotFoundError:
        return ""
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\0", "")
    if lines < 0:
        return text
    kept = text.splitlines(keepends=True)[-lines:] if lines else []
    return "".join(kept)


def bound(path: Path) -> None:
    """Give back the blocks of all but the last KEEP_BYTES, once there is twice as much. Blocking; cheap when small.

    A file system that can't punch holes (EOPNOTSUPP) keeps the file whole.
    """
    with path.open("r+b") as file:
        found = os.fstat(file.fileno())
        if found.st_blocks * 512 < 2 * KEEP_BYTES:
            return
        end = (found.st_size - KEEP_BYTES) // _BLOCK_BYTES * _BLOCK_BYTES
        mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
        if end > 0 and _libc.fallocate(file.fileno(), mode, ctypes.c_int64(0), ctypes.c_int64(end)):
            error = ctypes.get_errno()
            if error != 95:
                raise OSError(error, os.strerror(error), str(path))
