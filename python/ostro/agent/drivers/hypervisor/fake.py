"""A hypervisor without machines, for load and rehearsal: ``ostro up --hypervisor fake``.

It keeps the same books as the real one (domains, memos, disks, console logs) in memory and in a journal (`fake_journal`), from which the next
start resumes: like real domains, fake ones outlive the agent. A change costs some 20 us.
A guest goes to another fake hypervisor by a file in that one's state directory, once this one's journal says that it has gone.
What guests and hosts do by themselves is played by the methods beyond the Protocol: `power_off_inside`, `crash`, `lose_host_power`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import trio

from ostro.agent.drivers.hypervisor import Disk, Domain, DomainSpec, Facts, Memo, Nic, Progress
from ostro.agent.drivers.hypervisor.fake_journal import Journal, State
from ostro.model.errors import Conflict, NotFound, Unavailable
from ostro.model.ids import new_uuid
from ostro.model.volumes import LUKS
from ostro.model.wishes import Power
from ostro.runtime.world import World

HYPERVISOR_VERSION = 1_000_000
MEMORY_BYTES = 1 << 30
"""What every guest is said to have while it moves."""


@dataclass(frozen=True)
class FakeConfig:
    """``start_s`` is how long a domain takes to start, ``migrate_s`` to go to another host, and ``obeys_button`` whether guests react to ACPI."""

    state_dir: Path
    vcpus: int = 1024
    ram_mb: int = 4 * 1024 * 1024
    start_s: float = 0.0
    migrate_s: float = 0.0
    obeys_button: bool = True


class _Landing(msgspec.Struct, frozen=True):
    """Where a guest goes: the file that it arrives as, the migration that it arrives by, and what it will be there."""

    path: str
    spec: DomainSpec
    memo: Memo


class _Guest(msgspec.Struct, frozen=True):
    """What of a guest goes along."""

    move: str
    power: Power
    console: list[str]


@dataclass
class _Sending:
    """A migration from here."""

    landing: str
    at_s: float
    ended: trio.Event = field(default_factory=trio.Event)
    failure: str = ""


def _is_expected(landing: str) -> bool:
    """Whether the other hypervisor still waits for the guest."""
    return Path(msgspec.json.decode(landing, type=_Landing).path).with_suffix(".expected").exists()


def _hand_over(landing: str, guest: _Guest) -> None:
    """Put the guest where the other hypervisor finds it, whole or not at all."""
    path = Path(msgspec.json.decode(landing, type=_Landing).path)
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(guest))
    draft.rename(path)


@asynccontextmanager
async def open_(world: World, config: FakeConfig) -> AsyncIterator[FakeHypervisor]:
    """Resume from the journal in the state directory, or begin one."""
    journal = Journal(config.state_dir / "fake-hypervisor.jsonl")
    boot_id, states = journal.load()
    boot_id = boot_id or new_uuid(world.random)
    journal.begin(boot_id, states)
    try:
        yield FakeHypervisor(world, config, journal, boot_id, states)
    finally:
        journal.close()


class FakeHypervisor:
    """See `ostro.agent.drivers.hypervisor.Hypervisor`."""

    def __init__(
        self, world: World, config: FakeConfig, journal: Journal, boot_id: str, states: dict[str, State]
    ) -> None:
        self._world = world
        self._config = config
        self._journal = journal
        self._states = states
        self._boot_id = boot_id
        self._cloud_id = ""
        self._expected: dict[str, _Landing] = {}
        self._sending: dict[str, _Sending] = {}
        self._changed: Callable[[str], None] = lambda _server_id: None
        self._observer: Callable[[str, Domain | None], None] = lambda _server_id, _domain: None
        self._away = False
        self.keys: set[str] = set()

    @property
    def facts(self) -> Facts:
        return Facts(
            hypervisor_type="fake",
            hypervisor_version=HYPERVISOR_VERSION,
            acceleration="none",
            why="no machine is ever started: the hypervisor is the fake one",
            vcpus=self._config.vcpus,
            ram_mb=self._config.ram_mb,
            cpu_info="{}",
            boot_id=self._boot_id,
            traits=["HW_ARCH_X86_64"],
        )

    def watch(self, cloud_id: str, changed: Callable[[str], None]) -> None:
        self._cloud_id = cloud_id
        self._changed = changed

    async def domains(self) -> list[Domain]:
        await self._reach()
        ours = [self._found(state) for state in self._states.values() if state.cloud_id == self._cloud_id]
        return sorted(ours, key=lambda domain: domain.server_id)

    async def find(self, server_id: str) -> Domain | None:
        await self._reach()
        state = self._find(server_id)
        return None if state is None else self._found(state)

    async def define(self, spec: DomainSpec, memo: Memo) -> None:
        await self._reach()
        state = self._states.get(spec.server_id) or State(spec.server_id, self._cloud_id)
        if state.cloud_id != self._cloud_id:
            raise Conflict(f"A domain with the id {spec.server_id} exists on this host and is not of this cloud.")
        state.name, state.memo, state.disks, state.nics = spec.name, memo, list(spec.disks), list(spec.nics)
        state.sent_to = ""
        self._states[spec.server_id] = state
        self._save(state)

    async def start(self, server_id: str) -> None:
        await self._reach()
        state = self._get(server_id)
        if state.power is Power.ON:
            return
        if state.power is Power.PAUSED:
            state.power = Power.ON
            state.say(f"fake guest {state.name}: goes on")
            self._save(state)
            return
        for disk in state.disks:
            self._open(disk)
        if self._config.start_s:
            await trio.sleep(self._config.start_s)
        state.power = Power.ON
        state.say(f"fake guest {state.name}: on")
        self._save(state)

    async def pause(self, server_id: str) -> None:
        await self._reach()
        state = self._find(server_id)
        if state is not None and state.power is Power.ON:
            state.power = Power.PAUSED
            state.say(f"fake guest {state.name}: paused")
            self._save(state)

    async def stop(self, server_id: str, grace_s: float) -> None:
        await self._reach()
        state = self._find(server_id)
        if state is None or state.power is Power.OFF:
            return
        self._end_sending(server_id, "The domain was switched off.")
        if not self._config.obeys_button and state.power is Power.ON:
            await trio.sleep(grace_s)
        state.power = Power.OFF
        state.say(f"fake guest {state.name}: off")
        self._save(state)

    async def delete(self, server_id: str) -> None:
        await self._reach()
        self._forget_expected(server_id)
        self._end_sending(server_id, "The domain was deleted.")
        if self._find(server_id) is None:
            return
        del self._states[server_id]
        self._journal.write(State(server_id, gone=True))
        self._observer(server_id, None)

    async def attach(self, server_id: str, disk: Disk) -> None:
        await self._reach()
        state = self._get(server_id)
        if any(other.volume_id == disk.volume_id for other in state.disks):
            return
        if any(other.device == disk.device for other in state.disks):
            raise Conflict(f"The device {disk.device} is taken.")
        if state.power in (Power.ON, Power.PAUSED):
            self._open(disk)
        state.disks = [*state.disks, disk]
        self._save(state)

    async def detach(self, server_id: str, volume_id: str) -> None:
        await self._reach()
        state = self._find(server_id)
        if state is not None:
            state.disks = [disk for disk in state.disks if disk.volume_id != volume_id]
            self._save(state)

    async def plug(self, server_id: str, nic: Nic) -> None:
        await self._reach()
        state = self._get(server_id)
        if any(other.mac.lower() == nic.mac.lower() for other in state.nics):
            return
        state.nics = [*state.nics, nic]
        self._save(state)

    async def unplug(self, server_id: str, mac: str) -> None:
        await self._reach()
        state = self._find(server_id)
        if state is not None:
            state.nics = [nic for nic in state.nics if nic.mac.lower() != mac.lower()]
            self._save(state)

    async def keep_key(self, volume_id: str, passphrase: str) -> None:
        await self._reach()
        self.keys.add(volume_id)

    async def forget_key(self, volume_id: str) -> None:
        await self._reach()
        self.keys.discard(volume_id)

    async def resize(self, server_id: str, volume_id: str, size_bytes: int) -> None:
        await self._reach()
        if not any(disk.volume_id == volume_id for disk in self._get(server_id).disks):
            raise NotFound("volume", volume_id, f"Volume {volume_id} is not plugged into server {server_id}.")

    async def note(self, server_id: str, memo: Memo) -> None:
        await self._reach()
        state = self._get(server_id)
        state.memo = memo
        self._save(state)

    async def console_log(self, server_id: str, lines: int) -> str:
        await self._reach()
        state = self._find(server_id)
        console = [] if state is None else state.console
        kept = console if lines < 0 else console[len(console) - min(lines, len(console)) :]
        return "".join(f"{line}\n" for line in kept)

    def observe(self, observer: Callable[[str, Domain | None], None]) -> None:
        """Call ``observer`` at once with every domain that changes, and with None for one that is gone: for simulations."""
        self._observer = observer

    async def prepare_arrival(self, spec: DomainSpec, memo: Memo) -> str:
        await self._reach()
        for disk in spec.disks:
            self._open(disk)
        path = self._config.state_dir / f"arrival-{memo.move}.json"
        path.with_suffix(".expected").touch()
        landing = _Landing(str(path), spec, memo)
        self._expected[spec.server_id] = landing
        return msgspec.json.encode(landing).decode()

    async def migrate(self, server_id: str, landing: str, *, copy: bool) -> None:
        await self._reach()
        state = self._get(server_id)
        if state.power is Power.OFF:
            raise Unavailable("The domain is off.")
        sending = self._sending.setdefault(server_id, _Sending(landing, trio.current_time() + self._config.migrate_s))
        while not sending.ended.is_set():
            with trio.move_on_after(max(0.0, sending.at_s - trio.current_time())):
                await sending.ended.wait()
            self._go_on_sending(server_id)
        if sending.failure:
            raise Unavailable(sending.failure)

    async def migration(self, server_id: str) -> Progress | None:
        await self._reach()
        self._go_on_sending(server_id)
        sending = self._sending.get(server_id)
        if sending is None:
            return None
        left = (sending.at_s - trio.current_time()) / self._config.migrate_s if self._config.migrate_s else 0.0
        return Progress(MEMORY_BYTES, MEMORY_BYTES - int(MEMORY_BYTES * left), int(MEMORY_BYTES * left))

    async def abort_migration(self, server_id: str) -> None:
        await self._reach()
        self._go_on_sending(server_id)
        self._end_sending(server_id, "The migration was aborted.")

    async def force_migration(self, server_id: str) -> None:
        await self._reach()
        sending = self._sending.get(server_id)
        if sending is not None:
            sending.at_s = trio.current_time()
            self._go_on_sending(server_id)

    def _go_on_sending(self, server_id: str) -> None:
        """Let a guest go whose time has come."""
        sending = self._sending.get(server_id)
        if sending is None or trio.current_time() < sending.at_s:
            return
        if not _is_expected(sending.landing):
            self._end_sending(server_id, "The other host does not expect the guest.")
            return
        state = self._get(server_id)
        guest = _Guest(msgspec.json.decode(sending.landing, type=_Landing).memo.move, state.power, state.console)
        state.power, state.sent_to = Power.OFF, sending.landing
        self._save(state)
        _hand_over(sending.landing, guest)
        self._end_sending(server_id, "")

    def _end_sending(self, server_id: str, failure: str) -> None:
        sending = self._sending.pop(server_id, None)
        if sending is not None:
            sending.failure = failure
            sending.ended.set()
            self._changed(server_id)

    def _welcome(self) -> None:
        """Take in the guests that have come."""
        for server_id, landing in list(self._expected.items()):
            path = Path(landing.path)
            if not path.exists():
                continue
            guest = msgspec.json.decode(path.read_bytes(), type=_Guest)
            spec = landing.spec
            state = State(server_id, self._cloud_id, spec.name, guest.power, landing.memo, list(spec.disks))
            state.console, state.nics = guest.console, list(spec.nics)
            state.say(f"fake guest {state.name}: arrived")
            self._states[server_id] = state
            self._save(state)
            self._forget_expected(server_id)

    def _forget_expected(self, server_id: str) -> None:
        landing = self._expected.pop(server_id, None)
        if landing is not None:
            for suffix in (".expected", ".json"):
                Path(landing.path).with_suffix(suffix).unlink(missing_ok=True)

    def _found(self, state: State) -> Domain:
        return msgspec.structs.replace(state.found(), moving=state.server_id in self._sending)

    def power_off_inside(self, server_id: str) -> None:
        """The guest switches itself off."""
        self._happen(server_id, Power.OFF)

    def crash(self, server_id: str) -> None:
        """The domain's process dies."""
        self._happen(server_id, Power.CRASHED)

    def lose_host_power(self) -> None:
        """The host stops and starts: every domain is off, none comes or goes any more, and the boot is another."""
        self._boot_id = new_uuid(self._world.random)
        self._welcome()
        for server_id in list(self._expected):
            self._forget_expected(server_id)
        for server_id in list(self._sending):
            self._end_sending(server_id, "The host lost power.")
        for state in self._states.values():
            state.power = Power.OFF
            self._observer(state.server_id, state.found())
        self.keys.clear()
        self._journal.close()
        self._journal.begin(self._boot_id, self._states)
        self._changed("")

    def slow_down(self, migrate_s: float) -> None:
        """Guests have much to send from now on."""
        self._config = replace(self._config, migrate_s=migrate_s)

    def go_away(self) -> None:
        """Stop answering until `come_back`."""
        self._away = True

    def come_back(self) -> None:
        """Answer again."""
        self._away = False
        self._changed("")

    def _happen(self, server_id: str, power: Power) -> None:
        state = self._get(server_id)
        state.power = power
        self._save(state)
        self._end_sending(server_id, "The domain is off.")
        self._changed(server_id)

    def _open(self, disk: Disk) -> None:
        """Raise Unavailable for an encrypted disk whose key isn't at hand."""
        if disk.format == LUKS and disk.volume_id not in self.keys:
            raise Unavailable(f"The key of volume {disk.volume_id} is not at hand.")

    async def _reach(self) -> None:
        """Every call is a checkpoint, as with the real one, and fails while the hypervisor is away."""
        await trio.lowlevel.checkpoint()
        if self._away:
            raise Unavailable("The fake hypervisor is away.")
        if self._expected:
            self._welcome()

    def _find(self, server_id: str) -> State | None:
        state = self._states.get(server_id)
        return state if state is not None and state.cloud_id == self._cloud_id else None

    def _get(self, server_id: str) -> State:
        state = self._find(server_id)
        if state is None:
            raise NotFound("domain", server_id)
        return state

    def _save(self, state: State) -> None:
        self._journal.write(state)
        self._observer(state.server_id, state.found())
