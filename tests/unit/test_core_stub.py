"""``_core.pyi`` says exactly what the built module has: mypy's stubtest compares names, kinds and signatures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_IN_THE_STUB = ("ostro._core.__all__",)
"""PyO3 adds it to every module; nobody imports ``*``."""


def test_the_stub_agrees_with_the_module(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("\n".join(NOT_IN_THE_STUB) + "\n")
    command = [sys.executable, "-m", "mypy.stubtest", "ostro._core", "--allowlist", str(allowed)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "python"), "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
