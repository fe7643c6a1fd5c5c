"""The real ``openstack`` command, unpatched, against a cloud of a clouds.yaml."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
