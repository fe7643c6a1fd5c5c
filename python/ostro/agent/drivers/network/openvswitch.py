"""The real network driver: Open vSwitch, programmed by OpenFlow.

Three conversations: with the database (`ovsdb`: the bridge, which taps are on it, which numbers they have), with the switch (the
Rust core, through `switch`: flows), and with the kernel (`links`: taps and the metadata address). The wishes and what they compile
to are in the core's `FlowState`; this module carries facts to it (the numbers of ports) and differences away from it.

**Adoption.** At opening the database is read, and only what differs from what it should say is changed, so that a bridge left by an
earlier agent is taken over as it is: port numbers, the numbers of networks and groups (kept in the bridge's row) and so every flow come out
the same, byte for byte. The core compares flows at the first sync and repairs only what differs.

**When vswitchd is killed**, whoever supervises it starts it again; it finds its ports in the database, the core connects again and refills
it. Numbers that changed meanwhile come in as changes of the database and are synced by `_follow`.
"""

from __future__ import annotations

import functools
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from types import MappingProxyType

import msgspec
import structlog
import trio

from ostro._core import FlowDiff, FlowState
from ostro.agent.drivers.network import FlowWords, NetworkFacts, Plugged, Synced, bridge, links, ovsdb, switch
from ostro.agent.drivers.network.bridge import BridgeNames, BridgeWish
from ostro.agent.drivers.network.held import HeldWishes
from ostro.agent.drivers.network.ovsdb import Operation, Ovsdb
from ostro.agent.drivers.network.switch import SwitchLink
from ostro.model.errors import Conflict, NotFound, Unavailable
from ostro.model.wishes import Noun
from ostro.runtime.backoff import Backoff
from ostro.runtime.beside import beside
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

log = structlog.get_logger()

PLUG_S = 10.0
"""vswitchd numbers a port in some milliseconds; busy with a large change it takes a second or two."""
START_S = 15.0
LINK_S = 10.0
METADATA_MTU = 1500
ALIAS_RANGES = [IPv4Network(text) for text in ("198.18.0.0/16", "198.19.0.0/16", "100.126.0.0/16", "100.127.0.0/16")]
"""Where metadata requests seem to come from on this host: benchmarking's range (RFC 2544), then a corner of the carriers' (RFC 6598)."""


class OpenVSwitchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``db_socket`` and ``run_dir`` belong to the Open vSwitch to use; ``state_dir`` names what is ours on it.

    ``datapath_type`` is ``system`` or ``netdev``, chosen by probing, and ``datapath_why`` says why. ``tunnel_ip`` is this host's
    address for tunnels, empty for the one that its default route uses. ``physical`` says for each physical network which link
    device leads to it, or which bridge of the same Open vSwitch; the device is the bridge's from then on.
    """

    state_dir: Path
    db_socket: Path
    run_dir: Path
    datapath_type: str
    datapath_why: str
    tunnel_ip: str = ""
    metadata_port: int = 8775
    physical: Mapping[str, str] = MappingProxyType({})


class OpenVSwitchNetwork:
    """See `ostro.agent.drivers.network.Network`. Made by `open_`."""

    def __init__(
        self,
        world: World,
        names: BridgeNames,
        database: Ovsdb,
        link: SwitchLink,
        held: HeldWishes,
        facts: NetworkFacts,
        uplinks: Uplinks,
    ) -> None:
        self._world = world
        self._names = names
        self._database = database
        self._link = link
        self._held = held
        self._facts = facts
        self._uplinks = uplinks
        self._pool = Pool("links", 4)
        self._synced_once = False
        self._told_uplinks = uplinks.describe()
        self._kept_numbers: dict[tuple[str, str], int] = bridge.kept_numbers(database, names)
        self._numbers_owed = False
        self._unsent: deque[FlowDiff] = deque()
        self._lost: set[str] = set()
        self._bridge_gone = trio.Event()
        self._numbers_moved = trio.Event()
        self._guests = bridge.Guests(database, names.tag)
        for guest in self._guests:
            held.bind(guest.port_id, guest.number or None)
        database.on_change(self._rebind)

    @property
    def facts(self) -> NetworkFacts:
        return self._facts

    def put(self, noun: Noun, id: str, body: bytes) -> None:
        self._held.put(noun, id, body)

    def drop(self, noun: Noun, id: str) -> None:
        self._held.drop(noun, id)

    async def plug(self, port_id: str) -> None:
        tap, mac, mtu = self._held.plug_facts(port_id)
        made = await self._world.threads.run(self._pool, links.ensure_tap, tap, mtu, deadline_s=LINK_S)
        leaving = self._guests.in_the_way(port_id, tap)
        stale = self._guests.find(port_id) if made else None
        if stale is not None and stale not in leaving:
            # vswitchd still holds the device that had this name before.
            leaving.append(stale)
        await self._let_go(leaving)
        if self._guests.find(port_id) is None:
            await self._transact(bridge.plug_steps, port_id, tap, mac)
        await self._database.until(lambda: self._has_number(port_id), f"number the port of {tap}", PLUG_S)

    async def unplug(self, port_id: str) -> None:
        self._lost.discard(port_id)
        guest = self._guests.find(port_id)
        tap = guest.tap if guest else self._held.find_tap(port_id)
        if guest is not None:
            await self._let_go([guest])
            self._held.forget(port_id)
        if tap:
            await self._world.threads.run(self._pool, links.delete_link, tap, deadline_s=LINK_S)

    async def plugged(self) -> list[Plugged]:
        await trio.lowlevel.checkpoint()
        found = (Plugged(guest.port_id, guest.tap, guest.number) for guest in self._guests)
        return sorted(found, key=lambda plugged: plugged.port_id)

    async def sync(self) -> Synced:
        # What is committed must reach the switch, in order, also if the database doesn't answer now and only a later sync goes through.
        self._unsent.append(self._held.state.commit())
        await self._keep_numbers()
        added = changed = removed = 0
        while self._unsent:
            event = await self._link.sync(self._unsent.popleft())
            added, changed, removed = (a + b for a, b in zip((added, changed, removed), event.counts, strict=True))
        self._synced_once = True
        return Synced(added, changed, removed)

    async def audit(self) -> list[str]:
        return (await self._link.audit()).lines

    async def tables(self) -> list[FlowWords]:
        event = await self._link.dump()
        return [FlowWords(*flow) for flow in self._held.state.describe(event)]

    def port_at(self, address: str) -> str | None:
        return self._held.state.port_at(address)

    async def follow(self) -> None:
        """Sync, for ever, when the switch gives ports other numbers by itself, as a restarted one may."""
        loop = self._world.metrics.loop("switch: numbers")
        while True:
            await self._numbers_moved.wait()
            self._numbers_moved = trio.Event()
            if not self._synced_once:
                continue
            try:
                with loop.run():
                    await self.sync()
            except Unavailable as error:
                log.info("ports have new numbers; the switch gets their flows when it is back", reason=error.message)

    async def tend(self) -> None:
        """Give the metadata port its address again, for ever, whenever vswitchd has been restarted: it makes the device anew."""
        sign, backoff, failures = 1, Backoff(first_s=0.1, most_s=10.0), 0
        loop = self._world.metrics.loop("switch: metadata")
        while True:
            if not failures:
                sign = await self._link.sign(sign)
            try:
                with loop.run():
                    await self._uplinks.settle()
            except Unavailable as error:
                failures += 1
                log.warning("metadata can't be served", reason=error.message, detail=error.detail, failures=failures)
                await trio.sleep(backoff.delay_s(failures, self._world.random))
            else:
                failures = 0
                self._tell_uplinks()

    async def rebuild(self) -> None:
        """Make the bridge again, for ever, whenever someone has deleted it, with every port that was on it."""
        backoff, failures = Backoff(first_s=0.1, most_s=10.0), 0
        loop = self._world.metrics.loop("switch: bridge")
        while True:
            if not failures:
                await self._bridge_gone.wait()
            try:
                with loop.run():
                    await self._uplinks.build()
                    await self._transact(bridge.keep_numbers_steps, self._kept_numbers)
                    await self._uplinks.settle()
                    self._tell_uplinks()
                    await self._plug_lost()
            except Unavailable as error:
                failures += 1
                log.warning("the bridge can't be made again", reason=error.message, detail=error.detail)
                await trio.sleep(backoff.delay_s(failures, self._world.random))
            else:
                failures = 0
                self._bridge_gone = trio.Event()
                self._numbers_moved.set()

    async def _plug_lost(self) -> None:
        while self._lost:
            port_id = next(iter(self._lost))
            with suppress(NotFound):  # no longer wished
                await self.plug(port_id)
            self._lost.discard(port_id)

    def _tell_uplinks(self) -> None:
        """Tell the core which numbers the bridge's own ports have, if they are others than before."""
        described = self._uplinks.describe()
        if described != self._told_uplinks:
            self._told_uplinks = described
            self._held.state.set_uplinks(described)
            self._numbers_moved.set()

    async def _let_go(self, leaving: list[bridge.Guest]) -> None:
        """Take ports off the bridge; returns when vswitchd has closed their devices."""
        results = await self._transact(bridge.unplug_steps, leaving, then=bridge.COUNT_CHANGE)
        if results:
            number = bridge.change_number(results)
            done = functools.partial(bridge.changes_done, self._database)
            await self._database.until(lambda: done() >= number, f"let go of {leaving[0].tap}", PLUG_S)

    async def _transact(
        self, plan: Callable[..., list[Operation]], *args: object, then: Sequence[Operation] = ()
    ) -> list[object]:
        """Carry out what ``plan(replica, names, *args)`` says, and ``then`` with it; nothing if it says nothing."""
        try:
            steps = plan(self._database, self._names, *args)
        except Conflict as error:
            raise Unavailable(error.message) from error
        return await self._database.transact(*steps, *then) if steps else []

    def _has_number(self, port_id: str) -> bool:
        guest = self._guests.find(port_id)
        if guest is not None and guest.error:
            raise Unavailable(f"Open vSwitch cannot use {guest.tap}.", detail=guest.error)
        return guest is not None and guest.number > 0

    def _rebind(self, changes: ovsdb.Changes) -> None:
        """Tell the core which ports have come, gone or been renumbered. Ports that went with the bridge are remembered."""
        gone = self._database.find("Bridge", name=self._names.bridge) is None
        for port_id, number in self._guests.take(changes).items():
            if gone:
                self._lost.add(port_id)
            if self._held.bind(port_id, number or None):
                self._numbers_moved.set()
        if gone:
            if not self._bridge_gone.is_set():
                log.error("the bridge has been deleted from Open vSwitch; it is made again", bridge=self._names.bridge)
            self._bridge_gone.set()
        elif "Interface" in changes and self._uplinks.are_numbered():
            self._tell_uplinks()

    async def _keep_numbers(self) -> None:
        """Keep the numbers of networks and groups in the database before flows use them."""
        changed = self._held.state.take_changed_numbers()
        if changed is not None:
            self._kept_numbers = {(kind, id_): number for kind, id_, number in changed}
            self._numbers_owed = True
        if self._numbers_owed:
            await self._transact(bridge.keep_numbers_steps, self._kept_numbers)
            self._numbers_owed = False


@asynccontextmanager
async def open_(world: World, config: OpenVSwitchConfig) -> AsyncIterator[OpenVSwitchNetwork]:
    """The driver on a running Open vSwitch; on leaving, connections are closed and flows, ports and taps stay.

    Raises:
        Unavailable: Open vSwitch doesn't answer, or can't make the bridge.
        Conflict: the bridge of our name belongs to someone else.
    """
    names = BridgeNames.of(config.state_dir)
    async with ovsdb.open_(world, config.db_socket, bridge.WATCH, START_S) as database:
        config = _keep_datapath(config, database, names)
        tunnel_ip = config.tunnel_ip or default_address()
        wish = BridgeWish(names, config.datapath_type, tunnel_ip, _tunnels(database), config.physical)
        uplinks = Uplinks(world, config, database, wish)
        await uplinks.build()
        await uplinks.settle()
        held = HeldWishes(FlowState())
        held.state.set_uplinks(uplinks.describe())
        for (kind, id_), number in bridge.kept_numbers(database, names).items():
            held.state.restore_number(kind, id_, number)
        async with switch.open_(config.run_dir / f"{names.bridge}.mgmt", held.state, names.metadata) as link:
            with trio.move_on_after(START_S):
                await link.sign()
            facts = uplinks.facts()
            network = OpenVSwitchNetwork(world, names, database, link, held, facts, uplinks)
            async with beside(network.follow, network.tend, network.rebuild):
                yield network


async def remove(world: World, config: OpenVSwitchConfig) -> None:
    """Delete our bridge and every tap on it; there being none succeeds. No driver may be open.

    Raises:
        Unavailable: Open vSwitch doesn't answer.
    """
    names, pool = BridgeNames.of(config.state_dir), Pool("links", 4)
    async with ovsdb.open_(world, config.db_socket, bridge.WATCH, START_S) as database:
        taps = [guest.tap for guest in bridge.Guests(database, names.tag)]
        steps = bridge.remove_steps(database, names)
        if steps:
            number = bridge.change_number(await database.transact(*steps, *bridge.COUNT_CHANGE))
            await database.until(lambda: bridge.changes_done(database) >= number, "delete the bridge", START_S)
        for tap in taps:
            await world.threads.run(pool, links.delete_link, tap, deadline_s=LINK_S)


def _keep_datapath(config: OpenVSwitchConfig, database: Ovsdb, names: BridgeNames) -> OpenVSwitchConfig:
    """A bridge that works keeps its datapath, whatever would be chosen for a new one."""
    found = database.find("Bridge", name=names.bridge)
    kept = str(found[1].get("datapath_type", "")) if found else ""
    if kept in ("", config.datapath_type) or not bridge.own_number(database, names.metadata):
        return config
    return msgspec.structs.replace(config, datapath_type=kept, datapath_why="the bridge has it already, and works")


def _tunnels(database: Ovsdb) -> list[str]:
    """The kinds of tunnel that this Open vSwitch knows."""
    row = next(iter(database.tables["Open_vSwitch"].values()), {})
    known = ovsdb.members(row.get("iface_types", []))
    return [kind for kind in bridge.TUNNELS if kind in known]


class Uplinks:
    """The bridge's own ports: tunnels, and the metadata port with its address on this host."""

    def __init__(self, world: World, config: OpenVSwitchConfig, database: Ovsdb, wish: BridgeWish) -> None:
        self._world = world
        self._config = config
        self._database = database
        self._wish = wish
        self._pool = Pool("uplinks", 1)
        self._aliases = ALIAS_RANGES[0]

    async def build(self) -> None:
        """Make the bridge and these ports, as far as they aren't there.

        Raises:
            Unavailable: Open vSwitch doesn't answer.
            Conflict: the bridge of our name belongs to someone else.
        """
        steps = bridge.plan(self._database, self._wish)
        if steps:
            await self._database.transact(*steps)

    def are_numbered(self) -> bool:
        """Whether the metadata port, which is always there, has a number; while it has none, Open vSwitch is making the bridge."""
        return bridge.own_number(self._database, self._wish.names.metadata) != 0

    async def settle(self) -> None:
        """Wait until the ports are there, and give the metadata port its address.

        Raises:
            Unavailable: Open vSwitch can't make the metadata port, or this host has no range of addresses for it.
        """
        name, run = self._wish.names.metadata, self._world.threads.run
        await self._database.until(self._are_up, "make the bridge", START_S)
        aliases = await run(self._pool, links.free_range, ALIAS_RANGES, name, deadline_s=LINK_S)
        if aliases is None:
            raise Unavailable("Every range for metadata is routed elsewhere on this host.", detail=str(ALIAS_RANGES))
        self._aliases = aliases
        address = IPv4Interface((links.address_of(aliases), aliases.prefixlen))
        await run(self._pool, links.ensure_address, name, address, METADATA_MTU, deadline_s=LINK_S)

    def _are_up(self) -> bool:
        """Whether each port has a number or an error. A tunnel that the kernel can't do has an error; without it we can be."""
        names = self._wish.names
        error = bridge.own_error(self._database, names.metadata)
        if error:
            raise Unavailable("Open vSwitch cannot make its metadata port.", detail=error)
        own = [names.metadata, *(names.tunnels[kind] for kind in self._wish.tunnels)]
        own += [self._wish.physical_port(self._database, name) for name in self._wish.physical]
        return all(bridge.own_number(self._database, n) or bridge.own_error(self._database, n) for n in own)

    def describe(self) -> dict[str, object]:
        """What the core has to know of them."""
        names = self._wish.names
        metadata = {
            "port": bridge.own_number(self._database, names.metadata),
            "mac": names.metadata_mac,
            "address": str(links.address_of(self._aliases)),
            "tcp_port": self._config.metadata_port,
            "aliases": str(self._aliases),
        }
        tunnels = {kind: bridge.own_number(self._database, names.tunnels[kind]) or None for kind in self._wish.tunnels}
        ports = {name: self._wish.physical_port(self._database, name) for name in self._wish.physical}
        numbers = {name: bridge.own_number(self._database, port) for name, port in ports.items()}
        physical = {name: number for name, number in numbers.items() if number}
        return {"metadata": metadata, "physical": physical, **tunnels}

    def facts(self) -> NetworkFacts:
        """What was found and chosen."""
        row = next(iter(self._database.tables["Open_vSwitch"].values()), {})
        version = row.get("ovs_version", "")
        userspace = self._config.datapath_type == "netdev"
        return NetworkFacts(
            driver="openvswitch",
            version=version if isinstance(version, str) else "",
            bridge=self._wish.names.bridge,
            datapath="userspace" if userspace else "kernel",
            datapath_why=self._config.datapath_why,
            guest_offload=not userspace,
            tunnel_ip=self._wish.local_ip,
            metadata_address=str(links.address_of(self._aliases)),
            metadata_port=self._config.metadata_port,
        )


def default_address() -> str:
    """The address that this host uses towards the world; its loopback if it has no way there. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
