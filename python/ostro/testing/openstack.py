"""The real ``openstack`` command, unpatched, against a cloud of a clouds.yaml: as a process a command, or one process for many."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

COMMAND_TIMEOUT_S = 120
SHOWING = frozenset(("list", "show", "create", "issue"))
"""Verbs of commands that print what can be had as JSON."""


class OpenStack:
    """The ``openstack`` command against a cloud of clouds.yaml."""

    def __init__(self, clouds_yaml: Path, environment: dict[str, str] | None = None) -> None:
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("OS_")},
            "OS_CLIENT_CONFIG_FILE": str(clouds_yaml),
            "OS_CLOUD": "ostro",
            **(environment or {}),
        }

    def run(self, *words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """One run of the command, whatever comes of it."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "openstack"), *words],
            env=self._environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def __call__(self, *words: str) -> Any:
        """One run that must succeed; what it printed as JSON, None for nothing."""
        command = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
        done = self.run(*words, "-f", "json") if SHOWING.intersection(command) else self.run(*words)
        assert done.returncode == 0, f"openstack {' '.join(words)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip().startswith(("[", "{")) else None


_DRIVER = """
import contextlib, io, json, sys
from openstackclient.shell import OpenStackShell

answers = sys.stdout
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = OpenStackShell().run(json.loads(line))
            # One command, federation protocol set, returns what it has changed.
            status = status if isinstance(status, int) else 0
        except SystemExit as stopped:
            status = stopped.code
    answers.write(json.dumps([status, out.getvalue(), err.getvalue()]) + "\\n")
    answers.flush()
"""


def lines_of(script: str) -> list[str]:
    """The commands of a script; a line that is indented by one more goes on with the one above."""
    lines: list[str] = []
    for line in script.strip("\n").splitlines():
        if line.startswith(" " * 9):
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line.strip())
    return lines


class Shell:
    """The client in one process that stays, because it takes longer to start than to work. ``saved`` holds what commands have printed.

    The ``clouds`` are those of its clouds.yaml, of which ``ostro`` is used unless a command says another.
    """

    def __init__(self, folder: Path, clouds: dict[str, Any]) -> None:
        (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))
        self.saved: dict[str, Any] = {"project": clouds["ostro"]["auth"]["project_name"]}
        bare = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER],
            env={**bare, "OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml"), "OS_CLOUD": "ostro"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)

    def run(self, line: str) -> None:
        """Run ``[NAME:|!|?] command [-> text]``: save what it prints, expect that it fails, or repeat it until it prints the text."""
        line = line.format_map(self.saved)
        fails, line = line.startswith("! "), line.removeprefix("! ")
        until, line = line.startswith("? "), line.removeprefix("? ")
        line, _, expected = line.partition(" -> ")
        name, colon, rest = line.partition(": ")
        words = shlex.split(rest if colon else line)
        verbs = [word for word in words if not word.startswith("-")][:6]
        if SHOWING.intersection(verbs) or "authorize" in verbs:
            words += ["-f", "json"]
        until_s = time.monotonic() + COMMAND_TIMEOUT_S
        status, out, err = self._do(words)
        # The client works long enough for this to be no busy waiting.
        while until and (status or expected not in out) and time.monotonic() < until_s:
            status, out, err = self._do(words)
        said = f"openstack {' '.join(words)}: {status}\n{out}\n{err}"
        assert bool(status) is fails, said
        assert expected in (err if fails else out), said
        assert "HTTP 5" not in err, said
        if colon:
            self.saved[name] = json.loads(out)

    def _do(self, words: list[str]) -> tuple[int, str, str]:
        assert self._process.stdin is not None and self._process.stdout is not None, "both are piped"
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        status, out, err = json.loads(self._process.stdout.readline())
        return status, out, err
