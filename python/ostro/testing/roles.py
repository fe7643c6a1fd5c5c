"""A cloud in parts as real processes: API processes, controllers and hosts' agents, for tests that start, kill and restart them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ostro.model.errors import Bug

T = TypeVar("T")

PATIENCE_S = 120.0
STOP_S = 60.0
COMMAND_S = 120.0


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Part:
    """One process of the cloud, which can be killed and started again."""

    def __init__(self, words: tuple[str, ...], log: Path) -> None:
        self.words = words
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str] | None = None) -> None:
        """Start it, and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ostro", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def children(self) -> set[int]:
        """The processes that it has started and that still run."""
        assert self._process is not None, "start() first"
        pid = self._process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None, "start() first"
        self._process.kill()
        self._process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self._process is not None, "start() first"
        self._process.terminate()
        return self._process.wait(STOP_S)

    def says(self, text: str) -> bool:
        """Whether its log has the text."""
        return self.log.exists() and text in self.log.read_text(errors="replace")

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Roles:
    """The cloud whose settings and hosts are below ``root``. Leaving the block kills every process."""

    def __init__(self, root: Path, database: str) -> None:
        self.root = root
        self.database = database
        self.state = root / "controller"
        self.parts: list[Part] = []

    def ostro(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of ours to its end. Raises Bug with its words when it fails."""
        command = [sys.executable, "-m", "ostro", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        if check and done.returncode:
            raise Bug(f"ostro {' '.join(words)}: {done.stdout}\n{done.stderr}")
        return done

    def init(self, *options: str, listen: str = "") -> None:
        """``ostro init``, with the API at ``listen``, or at a free port of the loopback."""
        listen = listen or f"127.0.0.1:{free_port()}"
        words = ["--database", self.database, "--state", str(self.state), "--listen", listen]
        self.ostro("init", *words, *options)

    def api(self, listen: str = "", state: Path | None = None, *options: str) -> Part:
        """A further API process, once it serves."""
        words = (*(("--listen", listen) if listen else ()), *options)
        return self._begin("api", *words, state=state, ready="Ostro serves")

    def controller(self, state: Path | None = None) -> Part:
        """A further controller, once it runs."""
        return self._begin("controller", "--listen", "127.0.0.1:0", state=state, ready="The controller runs")

    def copy_settings(self, name: str) -> Path:
        """The state directory of another machine, which has got nothing but the settings."""
        state = self.root / name
        state.mkdir()
        shutil.copy(self.state / "ostro.toml", state / "ostro.toml")
        return state

    def token(self, *options: str) -> str:
        """A join token."""
        return self.ostro("token", "create", "--state", str(self.state), *options).stdout.strip()

    def join(self, name: str, url: str, token: str, *options: str) -> Path:
        """Let a host join; its state directory."""
        state = self.root / name
        self.ostro("join", url, token, "--state", str(state), "--name", name, "--hypervisor", "fake", *options)
        return state

    def agent(self, name: str) -> Part:
        """The agent of a host that has joined, once its drivers are open."""
        return self._begin("agent", state=self.root / name, ready="drivers are open")

    def connect(self) -> Any:
        """A connection of openstacksdk as the administrator."""
        # The client is a development dependency, so it is not imported at module level.
        from openstack.config import OpenStackConfig
        from openstack.connection import Connection

        config = OpenStackConfig(config_files=[str(self.state / "clouds.yaml")], load_envvars=False)
        return Connection(config=config.get_one("ostro"))

    def await_(self, check: Callable[[], T], what: str) -> T:
        """Poll until it is true. Raises Bug with the last words of all parts when that doesn't come."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            found = check()
            if found:
                return found
            if time.monotonic() > deadline_s:
                raise Bug(f"not in {PATIENCE_S:g} s: {what}\n" + "\n\n".join(part.tail() for part in self.parts))
            time.sleep(0.05)

    def _begin(self, role: str, *words: str, ready: str, state: Path | None = None) -> Part:
        log = self.root / f"{role}-{len(self.parts)}.log"
        part = Part((role, "--state", str(state or self.state), *words), log)
        self.parts.append(part)
        part.start()
        self.await_(lambda: part.says(ready) or not part.runs, f"{role} starts")
        if not part.runs:
            raise Bug(f"{role} ended:\n{part.tail()}")
        return part

    def __enter__(self) -> Roles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts:
            if part.runs:
                part.kill()
