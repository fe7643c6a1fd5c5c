"""Chunking and hashing from Python: feeds of 1 MiB, against the same feeds in Rust and against OpenSSL.

Rust's rate is measured by a program of its own (``ostro-bench-floor``), run in turn with Python's loop.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator

from bench.micro.figure import Figure, in_rust, in_turn, seconds
from ostro._core import CHUNK_BYTES_DEFAULT, Chunker, Hasher, update_together

FEED_BYTES = 1 << 20
ROUNDS = 40
"""Many and short: one that ends before others get their turn isn't disturbed by them."""
PASSES: dict[str, tuple[list[str], int]] = {
    "blake3": ([], 4),
    "blake3_md5_sha256": (["md5", "sha256"], 2),
}
STREAMS = 8


def figures() -> Iterator[Figure]:
    """A chunker in Python and in Rust; digests in ours and in OpenSSL."""
    data = os.urandom(FEED_BYTES)
    for name, (digests, count) in PASSES.items():
        yield Figure(
            f"python.chunk_{name}", *_rates(count, _chunk(data, digests, count), _chunk_in_rust(digests, count))
        )
    for name, count in (("sha256", 2), ("md5", 2)):
        yield Figure(f"python.{name}", *_rates(count, _ours(data, name, count), _openssl(data, name, count)))
    together = _md5_together(STREAMS)
    two = _openssl(data, "md5", 2)
    yield Figure(f"python.md5_{STREAMS}_streams", *_rates(STREAMS, together, lambda: two() * STREAMS / 2))


def _rates(count: int, value: Callable[[], float], floor: Callable[[], float]) -> tuple[float, str, float]:
    """GB/s of both from the seconds for so many feeds."""
    value_s, floor_s = in_turn(ROUNDS, value, floor)
    size = count * FEED_BYTES / 1e9
    return size / value_s, "GB/s", size / floor_s


def _chunk(data: bytes, digests: list[str], count: int) -> Callable[[], float]:
    def measure() -> float:
        chunker = Chunker(CHUNK_BYTES_DEFAULT, digests=digests)
        chunker.feed(data)
        return seconds(lambda: [chunker.feed(data) for _ in range(count)])

    return measure


def _chunk_in_rust(digests: list[str], count: int) -> Callable[[], float]:
    return lambda: in_rust("feed", str(count), *digests)


def _feed(update: Callable[[bytes], None], data: bytes, count: int) -> None:
    for _ in range(count):
        update(data)


def _ours(data: bytes, name: str, count: int) -> Callable[[], float]:
    def measure() -> float:
        hasher = Hasher(name)
        return seconds(lambda: _feed(hasher.update, data, count))

    return measure


def _openssl(data: bytes, name: str, count: int) -> Callable[[], float]:
    def measure() -> float:
        hasher = hashlib.new(name, usedforsecurity=False)
        return seconds(lambda: _feed(hasher.update, data, count))

    return measure


def _md5_together(count: int) -> Callable[[], float]:
    streams = [os.urandom(FEED_BYTES) for _ in range(count)]

    def measure() -> float:
        hashers = [Hasher("md5") for _ in streams]
        started_s = time.perf_counter()
        update_together(list(zip(hashers, streams, strict=True)))
        return time.perf_counter() - started_s

    return measure
