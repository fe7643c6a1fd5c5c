"""Hosts: registration, signs of life, waiting for them, and being sure that one is dead.

**Fencing.** A server may be started elsewhere only once its host can't run it any more (`is_fenced`). A host that was told a ``fence_s`` pauses
its servers on shared disks when no request of its was answered for so long, counted from when it sent the last one that was; it lets them go
on only after it has read all its wishes anew. So after a longer silence, and a margin, they stand still, and one whose absence was
wished meanwhile never goes on. ``declare_dead`` raises the host's epoch: whatever it still says at an older one is refused, until it has
registered at the new one and so learnt that it must look at its wishes before it does anything else.
"""

from __future__ import annotations

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Forbidden, NotFound
from ostro.model.registration import Registered, Registration
from ostro.model.wishes import Noun
from ostro.runtime.certificates import same_host_name
from ostro.saga.engine import Waiting
from ostro.services.agents.joining import Speaker, check_certificate
from ostro.services.network.hosts import meet_host
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.providers import ensure_host_provider
from ostro.store.controllers import list_controllers
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, HOSTS_TOPIC, Host, HostLife, find_named_host, host_topic
from ostro.store.reports import is_absent

LEASE_S = 30.0
"""A host that was silent for longer counts as down."""
CONTROLLER_GONE_S = 60.0
"""Whoever serves the API says so oftener."""
TOUCH_EVERY_US = 5_000_000
"""Signs of life closer together than this are not written."""
FENCE_MARGIN_S = 15.0
"""How much longer than its ``fence_s`` a host must have been silent: 5 s because signs of life are written no oftener, 5 s by which the
clocks of machines may differ or drift meanwhile, and 5 s in which a host pauses all its servers."""


def register_host(
    tx: Tx,
    context: Context,
    engine: PlacementEngine,
    speaker: Speaker,
    registration: Registration,
    cloud_id: str,
    fence_s: float = 0.0,
) -> Registered:
    """A host says who it is. The same name is the same host; a new incarnation takes over from the one before.

    One that registers at an older epoch than the host's learns the newer one, and nothing is written.

    Raises:
        Unauthenticated: its certificate is not good any more.
        Forbidden: its certificate is another host's.
    """
    check_certificate(tx, context, speaker)
    if speaker.name and not same_host_name(speaker.name, registration.name):
        raise Forbidden(f"The certificate of host {speaker.name} does not speak for {registration.name}.")
    known = find_named_host(tx, registration.name)
    host_id = context.new_id() if known is None else known.id
    epoch = 1 if known is None else known.epoch
    registered = Registered(host_id, cloud_id, LEASE_S, epoch, fence_s, list_urls(tx, context.now_us))
    if epoch_of(registration.epoch) < epoch:
        return registered
    # A host goes by what it knew before until it has this answer, and then registers again to say so.
    fences_s = max(fence_s, registration.fence_s) if fence_s and registration.fence_s else 0.0
    host = Host(
        id=host_id,
        name=registration.name if known is None else known.name,
        revision=1,
        incarnation=registration.incarnation,
        tunnel_ip=registration.tunnel_ip,
        inventory=registration.inventory,
        enabled=True,
        disabled_reason="",
        registered_at_us=context.now_us,
        seen_at_us=context.now_us,
        fence_ms=round(fences_s * 1000),
    )
    if known is None:
        # Revisions start at 1, so that since=0 always means "everything".
        HOSTS.insert(tx, host)
    else:
        said = ("incarnation", "tunnel_ip", "inventory", "seen_at_us", "fence_ms")
        HOSTS.update(tx, host_id, **{name: getattr(host, name) for name in said})
    meet_host(tx, host_id, known.tunnel_ip if known else "")
    ensure_host_provider(tx, engine, host_id, host.name, registration.inventory, context.now_us)
    tx.ring(HOSTS_TOPIC)
    return registered


def list_urls(tx: Tx, now_us: int) -> list[str]:
    """Where agents find the control plane now."""
    return list_controllers(tx, now_us - int(CONTROLLER_GONE_S * 1_000_000))


def epoch_of(said: int) -> int:
    """The epoch that a host means: one that says none has never been told of any."""
    return max(said, 1)


def check_speaker(tx: Tx, host_id: str, speaker: Speaker) -> Host:
    """The host, if this incarnation speaks for it, at its present epoch. Raises NotFound: the agent then registers again, or ends."""
    host = HOSTS.find(tx, id=host_id)
    if (
        host is None
        or host.incarnation != speaker.incarnation
        or host.epoch != epoch_of(speaker.epoch)
        or (speaker.name and not same_host_name(speaker.name, host.name))
    ):
        raise NotFound("host", host_id, "The host or this incarnation of it is not registered.")
    return host


def is_touch_due(host: Host, now_us: int) -> bool:
    """Whether `touch_host` would write anything."""
    return abs(now_us - host.seen_at_us) > TOUCH_EVERY_US


def touch_host(tx: Tx, host_id: str, now_us: int) -> None:
    """Note a sign of life. One that is said to come yet was written before the clock was set back."""
    tx.send(
        "UPDATE hosts SET seen_at_us = ? WHERE id = ? AND (seen_at_us < ? OR seen_at_us > ?)",
        (now_us, host_id, now_us - TOUCH_EVERY_US, now_us + TOUCH_EVERY_US),
    )


def declare_dead(tx: Tx, context: Context, host_id: str) -> Host:
    """The host counts as down until `declare_alive`, whatever it says, and is not heard before it has learnt of its new epoch. Idempotent."""
    host = HOSTS.get(tx, host_id)
    if host.forced_down:
        return host
    HOSTS.update(tx, host_id, forced_down=True, epoch=host.epoch + 1)
    tx.ring(host_topic(host_id), HOSTS_TOPIC)
    return msgspec.structs.replace(host, forced_down=True, epoch=host.epoch + 1)


def declare_alive(tx: Tx, context: Context, host_id: str) -> Host:
    """The host counts as up again as soon as it gives signs of life. Idempotent."""
    host = HOSTS.get(tx, host_id)
    HOSTS.update(tx, host_id, forced_down=False)
    tx.ring(HOSTS_TOPIC)
    return msgspec.structs.replace(host, forced_down=False)


def is_fenced(tx: Tx, host: Host, now_us: int, server_id: str = "") -> bool:
    """Whether the host surely doesn't run the server any more, whose absence is wished there (or any on a shared disk, without ``server_id``).

    Ask only once that wish is committed, or in its very transaction. It is sure when the host has reported the absence that is wished now, or
    was silent for its ``fence_s`` and the margin. Of a host that doesn't fence itself, silence says nothing: there it takes an operator, who
    by forcing it down takes the word for it that it is off.
    """
    if server_id and is_absent(tx, host.id, Noun.SERVER, server_id):
        return True
    silent_s = (now_us - host.seen_at_us) / 1_000_000
    if host.fence_ms:
        return silent_s >= host.fence_ms / 1000 + FENCE_MARGIN_S
    return host.forced_down and silent_s >= LEASE_S + FENCE_MARGIN_S


def waiting_for(tx: Tx, host_id: str, now_us: int) -> Waiting:
    """A saga waits for the host. While it is silent the clock stands still: nothing is decided about a machine that nobody can see."""
    host = HOSTS.find(tx, id=host_id)
    return Waiting(paused=host is None or not is_up(host, now_us))


def is_up(host: Host | HostLife, now_us: int) -> bool:
    """Whether the host gave a sign of life within its lease and wasn't forced down; one far ahead of the clock says nothing."""
    return not host.forced_down and abs(now_us - host.seen_at_us) <= LEASE_S * 1_000_000
