"""Daemons by their pid files and sockets: found again, waited for, ended."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import trio

from ostro.model.errors import Unavailable

STOP_TIMEOUT_S = 10.0


def find_process(pid_file: Path, program: str) -> int | None:
    """The process that a pid file names, if it is alive and runs ``program``: pids are reused."""
    try:
        pid = int(pid_file.read_text())
        name = Path(f"/proc/{pid}/exe").readlink().name
    except (OSError, ValueError):
        return None
    return pid if name.startswith(program) else None


async def wait_for_end(pid: int) -> None:
    """Return when the process has ended, at once if it has already."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


async def end_process(pid: int) -> None:
    """End a process kindly, and after STOP_TIMEOUT_S by force; one that is gone succeeds.

    Raises:
        Unavailable: not even killing ends it.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        with trio.move_on_after(STOP_TIMEOUT_S):
            await wait_for_end(pid)
            return
    raise Unavailable(f"Process {pid} does not end, not even killed.")


def answers(path: Path) -> bool:
    """Whether something accepts connections on the socket. At once: a local socket never waits."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
