"""What is kept of a demonstration that failed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ostro.cli.demo.logs import keep_logs


def test_logs_are_kept_wherever_they_lie_and_nothing_else_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("h1.log", "h1/console/a.log", "controller/admin.password"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "gone.log").symlink_to("nowhere")
    kept = keep_logs(tmp_path)
    try:
        assert {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()} == {
            "h1.log",
            "h1/console/a.log",
        }
        assert (kept / "h1/console/a.log").read_text() == "h1/console/a.log"
        assert str(kept) in capsys.readouterr().err
    finally:
        shutil.rmtree(kept)
