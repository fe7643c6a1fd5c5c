"""The little that is needed of the qcow2 format: to read a header safely, and to write an empty overlay. Pure.

Source: QEMU's docs/interop/qcow2.txt. An overlay is written here because it is four clusters of mostly zeros, while starting
qemu-img for it takes 20 ms.
"""

from __future__ import annotations

import struct

import msgspec

from ostro.model.errors import Invalid

MAGIC = b"QFI\xfb"
HEADER_BYTES = 104
CLUSTER_BITS = 16
CLUSTER_BYTES = 1 << CLUSTER_BITS
ENTRY_BYTES = 8
SECTOR_BYTES = 512
EXTERNAL_DATA_FILE = 1 << 2
BACKING_FORMAT_EXTENSION = 0xE2792ACA
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


class Header(msgspec.Struct, frozen=True):
    """What a header says. ``refers_elsewhere`` is whether the data is, in part, in other files."""

    size_bytes: int
    refers_elsewhere: bool
    encrypted: bool


class Sparse(msgspec.Struct, frozen=True):
    """A file's content: ``pieces`` by their offsets, zeros elsewhere."""

    size_bytes: int
    pieces: dict[int, bytes]


def read_header(data: bytes) -> Header:
    """Parse the first bytes of a file. Raises Invalid when they aren't a qcow2 header."""
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        raise Invalid("The image is not in qcow2 format.")
    fields = _HEADER.unpack_from(data)
    version, backing_offset, size_bytes, crypt_method = fields[1], fields[2], fields[5], fields[6]
    if version not in (2, 3):
        raise Invalid(f"The image is in version {version} of the qcow2 format, which is not known.")
    incompatible = fields[13] if version == 3 else 0
    elsewhere = backing_offset != 0 or bool(incompatible & EXTERNAL_DATA_FILE)
    return Header(size_bytes, elsewhere, crypt_method != 0)


def overlay(backing_file: str, backing_format: str, size_bytes: int) -> Sparse:
    """A whole qcow2 file of ``size_bytes`` that shows what ``backing_file`` holds and stores only what is written to it.

    Without a backing file it is blank. A size that isn't whole sectors is rounded up.

    Clusters: header, refcount table, refcount block, then the L1 table. One refcount block counts 32,768 clusters, far more
    than an L1 table can take; QEMU adds more as data comes.
    """
    size_bytes = -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES
    entries_per_table = CLUSTER_BYTES // ENTRY_BYTES
    l1_entries = max(1, -(-size_bytes // (CLUSTER_BYTES * entries_per_table)))
    l1_clusters = -(-l1_entries * ENTRY_BYTES // CLUSTER_BYTES)
    used_clusters = 3 + l1_clusters
    name, extensions = backing_file.encode(), bytes(8)
    if name:
        format_ = backing_format.encode()
        extensions = struct.pack(">II", BACKING_FORMAT_EXTENSION, len(format_)) + _padded(format_) + extensions
    name_offset = HEADER_BYTES + len(extensions) if name else 0
    header = _HEADER.pack(
        MAGIC,
        3,
        name_offset,
        len(name),
        CLUSTER_BITS,
        size_bytes,
        0,
        l1_entries,
        3 * CLUSTER_BYTES,
        CLUSTER_BYTES,
        1,
        0,
        0,
        0,
        0,
        0,
        4,
        HEADER_BYTES,
    )
    # Refcounts are 16 bits wide (order 4): one for each cluster written here.
    pieces = {
        0: header + extensions + name,
        CLUSTER_BYTES: struct.pack(">Q", 2 * CLUSTER_BYTES),
        2 * CLUSTER_BYTES: struct.pack(">H", 1) * used_clusters,
    }
    return Sparse(used_clusters * CLUSTER_BYTES, pieces)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
