"""A real ``ostro up`` as a child process, for tests that treat Ostro as its users do.

``Up`` starts, kills and restarts the process on one state directory. ``connect`` gives openstacksdk's connection to it, unpatched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from ostro.model.errors import Bug

START_S = 60.0
STOP_S = 30.0
DOWN_S = 90.0


class Up:
    """``ostro up`` on ``state``, by way of ``wrapper`` if there is one. Leaving the block takes everything down."""

    def __init__(
        self,
        state: Path,
        *,
        hypervisor: str = "fake",
        options: tuple[str, ...] = (),
        log: Path | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.state = state
        self.hypervisor = hypervisor
        self.log = log or state.with_suffix(".log")
        self._options = options
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "start() first"
        return self._process

    @property
    def endpoint(self) -> str:
        """The URL it serves."""
        return str(orjson.loads((self.state / "up.lock").read_bytes())["endpoint"])

    def start(self, listen: str = "127.0.0.1:0", environment: dict[str, str] | None = None) -> None:
        """Start it and return once it serves. Raises Bug with its last words when it does not."""
        self.spawn(listen, environment)
        self.await_ready()

    def spawn(self, listen: str = "127.0.0.1:0", environment: dict[str, str] | None = None) -> None:
        """Start it and return at once."""
        words = ["up", "--state", str(self.state), "--listen", listen, "--hypervisor", self.hypervisor, *self._options]
        (self.state / "up.lock").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, sys.executable, "-m", "ostro", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Return once it serves and its host is there. Raises Bug with its last words when it does not."""
        lock = self.state / "up.lock"
        deadline_s = time.monotonic() + START_S
        while not (lock.exists() and b"endpoint" in lock.read_bytes()):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise Bug(f"ostro up did not start:\n{self.tail()}")
            time.sleep(0.02)

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def interrupt(self) -> None:
        """Ctrl-C, and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOP_S)

    def kill(self) -> None:
        """kill -9, and wait until its lock is free."""
        self.process.kill()
        self.process.wait(STOP_S)

    def down(self) -> None:
        """``ostro down --purge``."""
        words = [*self._wrapper, sys.executable, "-m", "ostro", "down", "--state", str(self.state), "--purge"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=DOWN_S, check=False)
        if done.returncode:
            raise Bug(f"ostro down failed:\n{done.stdout}\n{done.stderr}\n{self.tail()}")

    def connect(self) -> Any:
        """A connection of openstacksdk as the administrator."""
        # The client is a development dependency, so it is not imported at module level.
        from openstack.config import OpenStackConfig
        from openstack.connection import Connection

        config = OpenStackConfig(config_files=[str(self.state / "clouds.yaml")], load_envvars=False)
        return Connection(config=config.get_one("ostro"))

    def __enter__(self) -> Up:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.interrupt()
        self.down()
