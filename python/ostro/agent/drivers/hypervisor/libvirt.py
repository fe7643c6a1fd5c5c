"""The real hypervisor: QEMU by libvirt.

Our domains are persistent, named ``ostro-<server id>``, have the server's id as their UUID, and carry the tag in their inactive
definition, which is where the memo is read and written. Everything else is asked of libvirt each time; nothing is
cached, so what other tools do to a domain is seen. `calls` has the
blocking calls, `connection` the workers that they run in.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import libvirt
import msgspec
import structlog
import trio

from ostro.agent.drivers.hypervisor import Disk, Domain, DomainSpec, Facts, Memo, Nic, Progress, calls
from ostro.agent.drivers.hypervisor.connection import LOOK_DEADLINE_S, Connection
from ostro.agent.drivers.hypervisor.console import bound, read_tail
from ostro.agent.drivers.hypervisor.domain_xml import Landing, domain_xml
from ostro.agent.drivers.hypervisor.kvm import Choice
from ostro.agent.parts.libvirtd import HOSTS
from ostro.model.errors import Invalid, Unavailable, Unsupported
from ostro.runtime.doorbell import Doorbell
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

log = structlog.get_logger()

PRESS_AGAIN_S = 5.0
"""A guest that hasn't loaded its ACPI driver yet misses the power button, so it is pressed again."""

SEES_WRITES_FROM = 9_000_000
"""QEMU 9.0. Before that, where it emulates, a guest that runs while it is sent goes on with some of its memory as it was before, unless that is of an odd size (`has_odd_ram`)."""
LET_GO_S = 10.0
LOOK_AGAIN_S = 1.0
BOUND_LOGS_EVERY_S = 5.0


@dataclass(frozen=True)
class Secret:
    """A key that domains need for their disks (`ostro.agent.drivers.block.CephAccess`)."""

    id: str
    title: str
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class Listen:
    """Where other hosts' hypervisors reach this one's. With ``pki``, a directory, both sides show certificates of the cloud's authority, this one
    that of ``host``. Names of others are put where the daemon finds them, which is ``names``: it asks for the name that is in the certificate.
    """

    address: str
    port: int
    pki: Path | None = None
    host: str = ""
    names: Path | None = None


@dataclass(frozen=True)
class LibvirtConfig:
    """``uri`` is libvirt's; ``choice`` is what `kvm.choose_acceleration` said; console logs are kept below ``state_dir``.

    Without ``listen`` no domain can come from another host.
    """

    uri: str
    choice: Choice
    state_dir: Path
    look_deadline_s: float = LOOK_DEADLINE_S
    secret: Secret | None = None
    listen: Listen | None = None

    @property
    def consoles(self) -> Path:
        """Where the console logs are."""
        return self.state_dir / "console"

    def console(self, server_id: str) -> Path:
        """One server's console log."""
        return self.consoles / f"{server_id}.log"


@asynccontextmanager
async def open_(world: World, config: LibvirtConfig) -> AsyncIterator[LibvirtHypervisor]:
    """Connect, look at the host, and watch until the block ends. Domains stay as they are.

    Raises:
        Unavailable: libvirt doesn't answer.
    """
    config.consoles.mkdir(parents=True, exist_ok=True)
    driver = LibvirtHypervisor(world, config)
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.connection.run)
        await driver.look_at_host()
        nursery.start_soon(driver.bound_console_logs)
        yield driver
        nursery.cancel_scope.cancel()


class LibvirtHypervisor:
    """See `ostro.agent.drivers.hypervisor.Hypervisor`."""

    def __init__(self, world: World, config: LibvirtConfig) -> None:
        self.connection = Connection(world, config.uri, self._something_changed, config.look_deadline_s, self._prepare)
        self._world = world
        self._config = config
        self._cloud_id = ""
        self._changed: Callable[[str], None] = _nobody_listens
        self._bells = Doorbell()
        self._files = Pool("console logs", 2)
        self._facts: Facts | None = None
        self._others: dict[str, str] = {}
        """Hosts that servers were sent to, and their addresses."""
        self._sending: set[str] = set()
        """Servers that this process sends: known without asking QEMU."""

    @property
    def facts(self) -> Facts:
        assert self._facts is not None, "open_ looks at the host first"
        return self._facts

    def watch(self, cloud_id: str, changed: Callable[[str], None]) -> None:
        self._cloud_id = cloud_id
        self._changed = changed

    async def domains(self) -> list[Domain]:
        return await self.connection.look(calls.list_ours, self._cloud_id, frozenset(self._sending))

    async def find(self, server_id: str) -> Domain | None:
        return await self.connection.look(calls.find, self._cloud_id, server_id, frozenset(self._sending))

    async def define(self, spec: DomainSpec, memo: Memo) -> None:
        xml = domain_xml(
            spec,
            memo,
            self._cloud_id,
            self._config.choice.acceleration,
            str(self._config.console(spec.server_id)),
            odd_ram=not self._sees_writes,
        )
        await self.connection.act(calls.define, self._cloud_id, spec.server_id, xml)

    async def start(self, server_id: str) -> None:
        await self.connection.act(calls.start, self._cloud_id, server_id)

    async def pause(self, server_id: str) -> None:
        await self.connection.act(calls.pause, self._cloud_id, server_id)

    async def stop(self, server_id: str, grace_s: float) -> None:
        with self._bells.listen(server_id) as bell, trio.move_on_after(grace_s):
            while await self.connection.act(calls.press_power_button, self._cloud_id, server_id):
                await bell.wait(PRESS_AGAIN_S)
            return
        await self.connection.act(calls.destroy, self._cloud_id, server_id)

    async def delete(self, server_id: str) -> None:
        await self.connection.act(calls.destroy, self._cloud_id, server_id)
        await self.connection.act(calls.undefine, self._cloud_id, server_id)
        self._config.console(server_id).unlink(missing_ok=True)

    async def attach(self, server_id: str, disk: Disk) -> None:
        await self.connection.act(calls.attach, self._cloud_id, server_id, disk)

    async def detach(self, server_id: str, volume_id: str) -> None:
        with self._bells.listen(server_id) as bell:
            await self.connection.act(calls.detach, self._cloud_id, server_id, volume_id)
            with trio.move_on_after(LET_GO_S):
                while await self._has_volume(server_id, volume_id):
                    await bell.wait(LOOK_AGAIN_S)
                return
        raise Unavailable(f"The guest has not let go of volume {volume_id} in {LET_GO_S:g} s.", retry_after_s=5)

    async def plug(self, server_id: str, nic: Nic) -> None:
        await self.connection.act(calls.plug, self._cloud_id, server_id, nic)

    async def unplug(self, server_id: str, mac: str) -> None:
        with self._bells.listen(server_id) as bell:
            await self.connection.act(calls.unplug, self._cloud_id, server_id, mac)
            with trio.move_on_after(LET_GO_S):
                while await self._has_nic(server_id, mac):
                    await bell.wait(LOOK_AGAIN_S)
                return
        raise Unavailable(f"The guest has not let go of network card {mac} in {LET_GO_S:g} s.", retry_after_s=5)

    async def keep_key(self, volume_id: str, passphrase: str) -> None:
        await self.connection.act(calls.keep_key, volume_id, passphrase)

    async def forget_key(self, volume_id: str) -> None:
        await self.connection.act(calls.forget_key, volume_id)

    async def resize(self, server_id: str, volume_id: str, size_bytes: int) -> None:
        await self.connection.act(calls.resize, self._cloud_id, server_id, volume_id, size_bytes)

    async def note(self, server_id: str, memo: Memo) -> None:
        await self.connection.act(calls.note, self._cloud_id, server_id, memo)

    async def prepare_arrival(self, spec: DomainSpec, memo: Memo) -> str:
        listen = self._config.listen
        if listen is None:
            raise Unsupported("Other hosts can't reach this host's hypervisor.")
        console = str(self._config.console(spec.server_id))
        tls = listen.pki is not None
        landing = Landing(listen.address, listen.port, tls, spec.disks, console, memo, listen.host if tls else "")
        return msgspec.json.encode(landing).decode()

    async def migrate(self, server_id: str, landing: str, *, copy: bool) -> None:
        try:
            there = msgspec.json.decode(landing, type=Landing)
        except msgspec.MsgspecError as error:
            raise Invalid("The other host's hypervisor is of another kind.", detail=str(error)) from error
        uri, sees_writes = self._uri_of(there), self._sees_writes
        self._sending.add(server_id)
        try:
            await self.connection.send(
                lambda connection: calls.migrate(
                    connection, self._cloud_id, server_id, there, uri, copy=copy, sees_writes=sees_writes
                )
            )
        finally:
            self._sending.discard(server_id)

    @property
    def _sees_writes(self) -> bool:
        """Whether QEMU sees all that any guest writes while it is sent."""
        return self.facts.acceleration == "kvm" or self.facts.hypervisor_version >= SEES_WRITES_FROM

    def _uri_of(self, landing: Landing) -> str:
        listen = self._config.listen
        pki = listen.pki if listen is not None else None
        if landing.tls != (pki is not None):
            raise Unsupported("One of the two hosts asks for certificates, and the other has none.")
        if listen is None or pki is None:
            return f"qemu+tcp://{landing.address}:{landing.port}/system"
        self._others[landing.host] = landing.address
        if listen.names is not None:
            write_names(listen.names, self._others)
        return f"qemu+tls://{landing.host}:{landing.port}/system?pkipath={pki}"

    async def migration(self, server_id: str) -> Progress | None:
        return await self.connection.look(calls.migration, self._cloud_id, server_id)

    async def abort_migration(self, server_id: str) -> None:
        await self.connection.act(calls.abort_migration, self._cloud_id, server_id, frozenset(self._sending))

    async def force_migration(self, server_id: str) -> None:
        await self.connection.act(calls.force_migration, self._cloud_id, server_id, frozenset(self._sending))

    async def console_log(self, server_id: str, lines: int) -> str:
        return await self._world.threads.run(self._files, read_tail, self._config.console(server_id), lines)

    async def look_at_host(self) -> None:
        """Learn the facts, which also makes libvirt fill its cache of what QEMU can do."""
        version = await self.connection.act(calls.version_and_warm, self._config.choice.acceleration)
        self._facts = Facts(
            hypervisor_type="QEMU",
            hypervisor_version=version,
            acceleration=self._config.choice.acceleration,
            why=self._config.choice.why,
            vcpus=os.cpu_count() or 1,
            ram_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
            cpu_info=_cpu_info(),
            boot_id=self._config.choice.boot_id,
            traits=["HW_ARCH_X86_64"],
        )

    async def bound_console_logs(self) -> None:
        """Keep console logs small, for ever."""
        loop = self._world.metrics.loop("console logs")
        while True:
            await trio.sleep(BOUND_LOGS_EVERY_S)
            try:
                with loop.run():
                    await self._world.threads.run(self._files, _bound_all, self._config.consoles)
            except (OSError, Unavailable) as error:
                log.warning("console logs could not be bounded", reason=str(error))

    async def _has_volume(self, server_id: str, volume_id: str) -> bool:
        domain = await self.find(server_id)
        return domain is not None and volume_id in domain.attached

    async def _has_nic(self, server_id: str, mac: str) -> bool:
        domain = await self.find(server_id)
        return domain is not None and mac.lower() in domain.nics

    def _prepare(self, connection: libvirt.virConnect) -> None:
        secret = self._config.secret
        if secret is not None:
            calls.keep_secret(connection, secret.id, secret.title, secret.value)

    def _something_changed(self, server_id: str) -> None:
        self._bells.ring([server_id])
        self._changed(server_id)


def write_names(path: Path, others: Mapping[str, str]) -> None:
    """Have the daemon know other hosts' addresses by their names, before all others that this host knows. The file stays the same one."""
    ours = "".join(f"{address} {name}\n" for name, address in others.items())
    text = ours + HOSTS.read_text()
    if path.read_text() != text:
        path.write_text(text)


def _nobody_listens(_server_id: str) -> None:
    """Until ``watch`` is called."""


def _bound_all(consoles: Path) -> None:
    for path in consoles.glob("*.log"):
        try:
            bound(path)
        except FileNotFoundError:
            continue


@functools.cache
def _cpu_info() -> str:
    """The host's processor in the form in which Nova shows it."""
    info: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        info.setdefault(name.strip(), value.strip())
    topology = {"sockets": 1, "cores": os.cpu_count() or 1, "threads": 1}
    features = sorted(info.get("flags", "").split())
    cpu = {"arch": "x86_64", "model": info.get("model name", ""), "vendor": info.get("vendor_id", "")}
    return json.dumps({**cpu, "topology": topology, "features": features})
