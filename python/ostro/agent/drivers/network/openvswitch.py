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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import msgspec
import structlog
import trio

from ostro._core import FlowState
from ostro.agent.drivers.network import FlowWords, NetworkFacts, Plugged, Synced, bridge, links, ovsdb, switch
from ostro.agent.drivers.network.bridge import BridgeNames, BridgeWish
from ostro.agent.drivers.network.held import HeldWishes
from ostro.agent.drivers.network.ovsdb import Operation, Ovsdb
from ostro.agent.drivers.network.switch import SwitchLink
from ostro.model.errors import Conflict, Unavailable
from ostro.model.wishes import Noun
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
    address for tunnels, empty for the one that its default route uses.
    """

    state_dir: Path
    db_socket: Path
    run_dir: Path
    datapath_type: str
    datapath_why: str
    tunnel_ip: str = ""
    metadata_port: int = 8775


class OpenVSwitchNetwork:
    """See `ostro.agent.drivers.network.Network`. Made by `open_`."""

    def __init__(
        self, world: World, names: BridgeNames, database: Ovsdb, link: SwitchLink, held: HeldWishes, facts: NetworkFacts
    ) -> None:
        self._world = world
        self._names = names
        self._database = database
        self._link = link
        self._held = held
        self._facts = facts
        self._pool = Pool("links", 4)
        self._synced_once = False
        self._numbers_moved = trio.Event()
        database.on_change(self._bind)
        self._bind()

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
        leaving = bridge.in_the_way(self._database, self._names, port_id, tap)
        if made and (stale := self._guest(port_id)) is not None:
            # vswitchd still holds the device that had this name before.
            leaving.append(stale)
        await self._let_go(leaving)
        await self._transact(bridge.plug_steps, port_id, tap, mac)
        await self._database.until(lambda: self._number(port_id, tap) > 0, f"number the port of {tap}", PLUG_S)

    async def unplug(self, port_id: str) -> None:
        guest = self._guest(port_id)
        tap = guest.tap if guest else self._held.find_tap(port_id)
        if guest is not None:
            await self._let_go([guest])
        if tap:
            await self._world.threads.run(self._pool, links.delete_link, tap, deadline_s=LINK_S)

    async def plugged(self) -> list[Plugged]:
        await trio.lowlevel.checkpoint()
        found = bridge.guests(self._database, self._names.tag)
        return sorted((Plugged(guest.port_id, guest.tap, guest.number) for guest in found), key=lambda it: it.port_id)

    async def sync(self) -> Synced:
        diff = self._held.state.commit()
        await self._keep_numbers()
        event = await self._link.sync(diff)
        self._synced_once = True
        return Synced(*event.counts)

    async def audit(self) -> list[str]:
        return (await self._link.audit()).lines

    async def tables(self) -> list[FlowWords]:
        event = await self._link.dump()
        return [FlowWords(*flow) for flow in self._held.state.describe(event)]

    def port_at(self, address: str) -> str | None:
        return self._held.state.port_at(address)

    async def follow(self) -> None:
        """Sync, for ever, when the switch gives ports other numbers by itself, as a restarted one may."""
        while True:
            await self._numbers_moved.wait()
            self._numbers_moved = trio.Event()
            if not self._synced_once:
                continue
            try:
                await self.sync()
            except Unavailable as error:
                log.info("ports have new numbers; the switch gets their flows when it is back", reason=error.message)

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

    def _guest(self, port_id: str) -> bridge.Guest | None:
        found = bridge.guests(self._database, self._names.tag)
        return next((guest for guest in found if guest.port_id == port_id), None)

    def _number(self, port_id: str, tap: str) -> int:
        guest = self._guest(port_id)
        if guest is None or guest.tap != tap:
            return 0
        if guest.error:
            raise Unavailable(f"Open vSwitch cannot use {tap}.", detail=guest.error)
        return guest.number

    def _bind(self) -> None:
        """Tell the core which ports are plugged in, and by which numbers."""
        now = {g.port_id: g.number for g in bridge.guests(self._database, self._names.tag) if g.number}
        if self._held.bind_all(now):
            self._numbers_moved.set()

    async def _keep_numbers(self) -> None:
        """Keep the numbers of networks and groups in the database before flows use them."""
        changed = self._held.state.take_changed_numbers()
        if changed is not None:
            wanted = {(kind, id_): number for kind, id_, number in changed}
            await self._transact(bridge.keep_numbers_steps, wanted)


@asynccontextmanager
async def open_(world: World, config: OpenVSwitchConfig) -> AsyncIterator[OpenVSwitchNetwork]:
    """The driver on a running Open vSwitch; on leaving, connections are closed and flows, ports and taps stay.

    Raises:
        Unavailable: Open vSwitch doesn't answer, or can't make the bridge.
        Conflict: the bridge of our name belongs to someone else.
    """
    names = BridgeNames.of(config.state_dir)
    tunnel_ip = config.tunnel_ip or default_address()
    async with ovsdb.open_(world, config.db_socket, bridge.WATCH, START_S) as database:
        wish = BridgeWish(names, config.datapath_type, tunnel_ip, _tunnels(database))
        steps = bridge.plan(database, wish)
        if steps:
            await database.transact(*steps)
        await database.until(functools.partial(_is_up, database, names), "make the bridge", START_S)
        facts, uplinks = await _settle(world, config, database, wish)
        held = HeldWishes(FlowState())
        held.state.set_uplinks(uplinks)
        for (kind, id_), number in bridge.kept_numbers(database, names).items():
            held.state.restore_number(kind, id_, number)
        async with switch.open_(config.run_dir / f"{names.bridge}.mgmt", held.state) as link:
            with trio.move_on_after(START_S):
                await link.connected()
            network = OpenVSwitchNetwork(world, names, database, link, held, facts)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(network.follow)
                yield network
                nursery.cancel_scope.cancel()


async def remove(world: World, config: OpenVSwitchConfig) -> None:
    """Delete our bridge and every tap on it; there being none succeeds. No driver may be open.

    Raises:
        Unavailable: Open vSwitch doesn't answer.
    """
    names, pool = BridgeNames.of(config.state_dir), Pool("links", 4)
    async with ovsdb.open_(world, config.db_socket, bridge.WATCH, START_S) as database:
        taps = [guest.tap for guest in bridge.guests(database, names.tag)]
        steps = bridge.remove_steps(database, names)
        if steps:
            number = bridge.change_number(await database.transact(*steps, *bridge.COUNT_CHANGE))
            await database.until(lambda: bridge.changes_done(database) >= number, "delete the bridge", START_S)
        for tap in taps:
            await world.threads.run(pool, links.delete_link, tap, deadline_s=LINK_S)


def _tunnels(database: Ovsdb) -> list[str]:
    """The kinds of tunnel that this Open vSwitch knows."""
    row = next(iter(database.tables["Open_vSwitch"].values()), {})
    known = ovsdb.members(row.get("iface_types", []))
    return [kind for kind in bridge.TUNNELS if kind in known]


def _is_up(database: Ovsdb, names: BridgeNames) -> bool:
    """Whether the metadata port has a number. Tunnels that the kernel can't do never get one; they aren't waited for."""
    error = bridge.own_error(database, names.metadata)
    if error:
        raise Unavailable("Open vSwitch cannot make its metadata port.", detail=error)
    numbered = [
        bridge.own_number(database, name) or bridge.own_error(database, name) for name in names.tunnels.values()
    ]
    known = [name for name in names.tunnels.values() if database.find("Interface", name=name)]
    return bool(bridge.own_number(database, names.metadata)) and len([n for n in numbered if n]) == len(known)


async def _settle(
    world: World, config: OpenVSwitchConfig, database: Ovsdb, wish: BridgeWish
) -> tuple[NetworkFacts, dict[str, object]]:
    """Give the metadata port its address; returns the facts and the switch's own ports."""
    pool, names = Pool("links", 1), wish.names
    aliases = await world.threads.run(pool, links.free_range, ALIAS_RANGES, names.metadata, deadline_s=LINK_S)
    if aliases is None:
        raise Unavailable("Every range for metadata is routed elsewhere on this host.", detail=str(ALIAS_RANGES))
    address = links.address_of(aliases)
    own = IPv4Interface((address, aliases.prefixlen))
    mac = await world.threads.run(pool, links.ensure_address, names.metadata, own, METADATA_MTU, deadline_s=LINK_S)
    metadata = {
        "port": bridge.own_number(database, names.metadata),
        "mac": mac,
        "address": str(address),
        "tcp_port": config.metadata_port,
        "aliases": str(aliases),
    }
    uplinks: dict[str, object] = {"metadata": metadata, "physical": {}}
    for kind in wish.tunnels:
        uplinks[kind] = bridge.own_number(database, names.tunnels[kind]) or None
    row = next(iter(database.tables["Open_vSwitch"].values()), {})
    userspace = config.datapath_type == "netdev"
    facts = NetworkFacts(
        driver="openvswitch",
        version=str(row.get("ovs_version", "")),
        bridge=names.bridge,
        datapath="userspace" if userspace else "kernel",
        datapath_why=config.datapath_why,
        guest_offload=not userspace,
        tunnel_ip=wish.local_ip,
        metadata_address=str(address),
        metadata_port=config.metadata_port,
    )
    return facts, uplinks


def default_address() -> str:
    """The address that this host uses towards the world; its loopback if it has no way there. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
