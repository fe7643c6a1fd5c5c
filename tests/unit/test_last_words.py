"""What a library says before it ends the interpreter is not lost: not under pytest, and not in a process of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

DYING = """
import os

def test_before():
    os.write(2, b"of another test")

def test_dies():
    os.write(2, b"failed assertion")
    os.abort()
"""
LIVING = """
import os

def test_lives():
    os.write(2, b"nothing")
"""
COMMAND = """
import os
import click
from ostro.cli.main import main

main.add_command(click.Command("die", callback=os.abort))
main(["die"])
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)


def run_pytest(tmp_path: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_it.py").write_text(text)
    return run("-m", "pytest", "--rootdir", str(tmp_path), "-p", "ostro.testing.last_words", *words, str(tmp_path))


def test_a_test_that_ends_the_interpreter_is_heard(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, DYING)
    assert done.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in done.stderr
    assert done.stderr.endswith("\nWhat it said last, in test_it.py::test_dies:\nfailed assertion\n")


def test_a_test_that_ends_well_says_nothing(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, LIVING)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_captured_is_said_once(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, DYING, "-s")
    assert done.stderr.count("failed assertion") == 1 and "said last" not in done.stderr


def test_a_command_that_dies_says_where() -> None:
    done = run("-c", COMMAND)
    assert done.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in done.stderr and "ostro/cli/main.py" in done.stderr
