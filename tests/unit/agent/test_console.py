"""Console logs: their tails, and their bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.agent.drivers.hypervisor.console import KEEP_BYTES, bound, read_tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def test_there_is_no_log(log: Path) -> None:
    assert read_tail(log, -1) == ""


@pytest.mark.parametrize(
    ("lines", "expected"), [(-1, "one\ntwo\nthree"), (2, "two\nthree"), (9, "one\ntwo\nthree"), (0, "")]
)
def test_the_tail_of_a_log(log: Path, lines: int, expected: str) -> None:
    log.write_bytes(b"one\r\ntwo\r\nthree")
    assert read_tail(log, lines) == expected


def test_what_is_not_text_is_shown_somehow(log: Path) -> None:
    log.write_bytes(b"\xff\0ok\n")
    assert read_tail(log, -1) == "\N{REPLACEMENT CHARACTER}ok\n"


def test_a_small_log_is_left_alone(log: Path) -> None:
    log.write_bytes(b"x" * KEEP_BYTES)
    bound(log)
    assert log.read_bytes() == b"x" * KEEP_BYTES


def test_a_large_log_gives_its_older_blocks_back_and_can_be_appended_to(log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old line\n" * (KEEP_BYTES // 2))
        bound(log)
        writer.write(b"new line\n")
    found = log.stat()
    assert found.st_blocks * 512 <= KEEP_BYTES + 3 * 4096
    assert found.st_size == 9 * (KEEP_BYTES // 2 + 1)
    assert read_tail(log, 2) == "old line\nnew line\n"
    assert len(read_tail(log, -1)) > KEEP_BYTES - 8192
