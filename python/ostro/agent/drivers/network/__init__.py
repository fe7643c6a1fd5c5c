"""The network driver: this host's ports, filtered, addressed and connected.

A driver holds the **wished state** of the network nouns (network, security group, port, peer, router, floating IP) in memory, fed by
`Network.put` and `Network.drop` with the JSON bytes of the wish, and makes the host's data plane equal to it with
`Network.sync`. Putting and dropping touch nothing outside the process and never wait, so an agent may pour ten thousand
wishes in and sync once. Nothing is ever flushed to be rebuilt: a sync sends the difference only, and a sync with nothing
to change sends nothing.

**After a start** the driver knows no wishes, while the switch may hold the flows of an earlier agent and be carrying
traffic. So an agent pours in the *full* feed before its first `sync`; a sync before that would take down every port.
That first sync adopts: it reads the switch back, repairs what differs and leaves the rest alone, so that restarting an
agent changes no packet.

**Order of a port's life.** ``put(PORT)`` (and what it refers to: its network, its groups), `plug`, `sync`, then the
hypervisor starts the guest on the tap, so its first packet meets finished tables. At the end the hypervisor destroys
the guest, then `unplug`, ``drop(PORT)``, `sync`. A port that is put and not plugged has no flows; a tap that is plugged
and has no wish is isolated (an orphan: `plugged` lists it).

**The tap** is made by the driver (persistent, one queue, up, MTU of the network, owned by root) and the hypervisor only opens it::

    <interface type='ethernet'>
      <mac address='...'/>                           the port's MAC
      <target dev='TAP' managed='no'/>               PortWish.tap
      <mtu size='...'/>                              NetworkWish.mtu
      <model type='virtio'/>
      <driver><host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>    only if not facts.guest_offload
              <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/></driver>
    </interface>

Implementations: `ostro.agent.drivers.network.openvswitch` (real) and `ostro.agent.drivers.network.fake` (the same
compiler without a switch, for ``--hypervisor fake``). Both pass one conformance suite. Each module has an
``open_(config)`` async context manager; inside it the driver is running (it supervises its switch in a task of its
own nursery) and on leaving it the connection is closed while flows, ports and taps stay as they are.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ostro.model.wishes import Noun


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver found and chose when it was opened; it doesn't change while the driver is open.

    ``driver`` is ``openvswitch`` or ``fake``; ``version`` is the switch's own. ``datapath`` is ``kernel``,
    ``userspace`` or ``none``, and ``datapath_why`` says in one sentence why. ``guest_offload`` is whether guests may
    leave checksums and segmentation to the host: where false the hypervisor must turn them off on the guest's card.
    The metadata server listens on ``metadata_address``:``metadata_port``, an address that only this host can reach;
    both are empty and 0 where no packet will ever arrive (fake).
    """

    driver: str
    version: str
    bridge: str
    datapath: str
    datapath_why: str
    guest_offload: bool
    tunnel_ip: str
    metadata_address: str = ""
    metadata_port: int = 0


class Plugged(msgspec.Struct, frozen=True):
    """A tap that is on the bridge and is ours. ``number`` is its OpenFlow port, 0 while the switch hasn't given one."""

    port_id: str
    tap: str
    number: int = 0


class Synced(msgspec.Struct, frozen=True):
    """What one sync sent: flows added, changed and removed. All zero when the switch was already as wished."""

    added: int = 0
    changed: int = 0
    removed: int = 0


class FlowWords(msgspec.Struct, frozen=True):
    """One flow as a person reads it: ports, networks and groups by name, registers by what they hold.

    ``packets`` is the switch's own counter (0 in the fake).
    """

    table: int
    table_name: str
    priority: int
    match: str
    actions: str
    packets: int = 0


class Network(Protocol):
    """One host's network. Every method is idempotent. Safe from one trio thread; not from several."""

    @property
    def facts(self) -> NetworkFacts:
        """What was found and chosen at opening."""
        ...

    def put(self, noun: Noun, id: str, body: bytes) -> None:
        """Hold ``body`` (JSON of a NetworkWish, SecurityGroupWish, PortWish, PeerWish, RouterWish or FloatingIpWish) as the wish for ``(noun, id)``.

        In memory only, atomic, under 0.2 ms; replaces the wish held before. Order doesn't matter: a port may come before its
        network and comes to life with it.

        Raises:
            Invalid: the body isn't a wish of that noun; the one held before is kept.
        """
        ...

    def drop(self, noun: Noun, id: str) -> None:
        """Forget the wish for ``(noun, id)``; forgetting what isn't held succeeds. In memory only."""
        ...

    async def plug(self, port_id: str) -> None:
        """Make the port's tap, if it isn't there, and put it on the bridge; returns when the switch has numbered it.

        A tap that is there and right is not touched. The port's and its network's wishes must be held. Flows for
        it are sent by the next `sync`, not here. Cancellation leaves the tap made or not; plugging again finishes the work.

        Raises:
            NotFound: no wish for the port, or for its network, is held.
            Unavailable: the switch didn't answer or couldn't use the tap in time; try again.
        """
        ...

    async def unplug(self, port_id: str) -> None:
        """Take the port's tap off the bridge and delete it; it being gone already succeeds. Needs no wish.

        Raises:
            Unavailable: the switch didn't answer in time; try again.
        """
        ...

    async def plugged(self) -> list[Plugged]:
        """What is plugged in on this host by us, wished or not (for finding orphans), ordered by port id."""
        ...

    async def sync(self) -> Synced:
        """Send the difference between the wishes held and the switch, and return when the switch has confirmed it.

        All of it or nothing takes effect (one atomic bundle), so a packet sees the old tables or the new, never
        a mixture. Concurrent calls share the work. Cancelled, the difference may or may not have been sent; the next sync settles it.

        Raises:
            Unavailable: the switch is away; it is filled by itself when it comes back, and another sync will then return.
        """
        ...

    async def audit(self) -> list[str]:
        """Read the switch back, repair what differs from what was last synced, and say in words what had drifted.

        Flows that carry another owner's cookie are neither reported nor touched.

        Raises:
            Unavailable: the switch is away.
        """
        ...

    async def tables(self) -> list[FlowWords]:
        """This host's flows in words, in the order in which packets meet them.

        Raises:
            Unavailable: the switch is away.
        """
        ...

    def port_at(self, address: str) -> str | None:
        """Which port a metadata request from ``address`` comes from, or None if from none of ours. Under 10 us."""
        ...
