"""What the fake hypervisor remembers: a file with one line per change of a domain, from which the next start resumes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from ostro.agent.drivers.hypervisor import Disk, Domain, Memo, Nic, find_root_backend
from ostro.model.errors import Unavailable
from ostro.model.wishes import Power

log = structlog.get_logger()

CONSOLE_LINES_MAX = 100


class State(msgspec.Struct):
    """A domain as the journal keeps it: the last line of an id counts; ``gone`` is a deletion."""

    server_id: str
    cloud_id: str = ""
    name: str = ""
    power: Power = Power.OFF
    memo: Memo = Memo(0, 0, "")
    disks: list[Disk] = []
    console: list[str] = []
    gone: bool = False
    nics: list[Nic] = []
    sent_to: str = ""

    def found(self) -> Domain:
        """The domain as the driver finds it."""
        attached = sorted(disk.volume_id for disk in self.disks if disk.volume_id)
        nics = sorted(nic.mac.lower() for nic in self.nics)
        shared = any(disk.ceph is not None for disk in self.disks)
        return Domain(
            self.server_id,
            self.power,
            self.memo,
            attached,
            nics,
            shared,
            sent=bool(self.sent_to),
            root_backend=find_root_backend(self.disks),
        )

    def say(self, line: str) -> None:
        """Print a line on its console."""
        self.console = [*self.console[1 - CONSOLE_LINES_MAX :], line]


class _Boot(msgspec.Struct):
    """The journal's first line: the fake host's boot."""

    boot_id: str


@dataclass
class Journal:
    """The file of changes. Written through to the kernel at each change, so that killing the process loses nothing."""

    path: Path
    _fd: int = field(default=-1, repr=False)
    _encoder: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder, repr=False)

    def load(self) -> tuple[str, dict[str, State]]:
        """Boot id and domains; a last line that was cut off is ignored."""
        if not self.path.exists():
            return "", {}
        first, *lines = self.path.read_bytes().split(b"\n")[:-1]
        states = {}
        decoder = msgspec.json.Decoder(State)
        for line in lines:
            state = decoder.decode(line)
            states[state.server_id] = state
        return msgspec.json.decode(first, type=_Boot).boot_id, {k: s for k, s in states.items() if not s.gone}

    def begin(self, boot_id: str, states: dict[str, State]) -> None:
        """Write the journal anew, with one line per domain, and keep it open; on a full disk, go on with the old one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        lines = [_Boot(boot_id), *states.values()]
        try:
            fresh.write_bytes(b"".join(self._encoder.encode(line) + b"\n" for line in lines))
            fresh.rename(self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            if not self.path.exists():
                raise
            log.warning("the fake hypervisor's journal stays as long as it is", reason=str(error))
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def write(self, state: State) -> None:
        """Append a domain's new state, whole or not at all. Raises Unavailable when the disk is full."""
        line = self._encoder.encode(state) + b"\n"
        size_bytes = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise Unavailable("The fake hypervisor can't write its journal.", detail=str(error)) from error
        if written < len(line):
            os.ftruncate(self._fd, size_bytes)
            raise Unavailable("The fake hypervisor has no room for its journal.")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
