"""Hosts: registration, signs of life, and waiting for them."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.model.wishes import Registered, Registration
from ostro.saga.engine import Waiting
from ostro.services.network.hosts import meet_host
from ostro.services.placement.providers import ensure_host_provider
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, HOSTS_TOPIC, Host

LEASE_S = 30.0
"""A host that was silent for longer counts as down."""
TOUCH_EVERY_US = 5_000_000
"""Signs of life closer together than this are not written."""


def register_host(tx: Tx, context: Context, registration: Registration, cloud_id: str) -> Registered:
    """A host says who it is. The same name is the same host; a new incarnation takes over from the one before."""
    known = HOSTS.find(tx, name=registration.name)
    if known is None:
        # Revisions start at 1, so that since=0 always means "everything".
        host_id = context.new_id()
        HOSTS.insert(
            tx,
            Host(
                id=host_id,
                name=registration.name,
                revision=1,
                incarnation=registration.incarnation,
                tunnel_ip=registration.tunnel_ip,
                inventory=registration.inventory,
                enabled=True,
                disabled_reason="",
                registered_at_us=context.now_us,
                seen_at_us=context.now_us,
            ),
        )
    else:
        host_id = known.id
        HOSTS.update(
            tx,
            host_id,
            incarnation=registration.incarnation,
            tunnel_ip=registration.tunnel_ip,
            inventory=registration.inventory,
            seen_at_us=context.now_us,
        )
    meet_host(tx, host_id, known.tunnel_ip if known else "")
    ensure_host_provider(tx, host_id, registration.name, registration.inventory, context.now_us)
    tx.ring(HOSTS_TOPIC)
    return Registered(host_id=host_id, cloud_id=cloud_id, lease_s=LEASE_S)


def check_incarnation(tx: Tx, host_id: str, incarnation: str) -> Host:
    """The host, if this incarnation speaks for it. Raises NotFound: the agent then registers again, or ends."""
    host = HOSTS.find(tx, id=host_id)
    if host is None or host.incarnation != incarnation:
        raise NotFound("host", host_id, "The host or this incarnation of it is not registered.")
    return host


def touch_host(tx: Tx, host_id: str, now_us: int) -> None:
    """Note a sign of life. One that is said to come yet was written before the clock was set back."""
    tx.execute(
        "UPDATE hosts SET seen_at_us = ? WHERE id = ? AND (seen_at_us < ? OR seen_at_us > ?)",
        (now_us, host_id, now_us - TOUCH_EVERY_US, now_us + TOUCH_EVERY_US),
    )


def waiting_for(tx: Tx, host_id: str, now_us: int) -> Waiting:
    """A saga waits for the host. While it is silent the clock stands still: nothing is decided about a machine that nobody can see."""
    host = HOSTS.find(tx, id=host_id)
    return Waiting(paused=host is None or not is_up(host, now_us))


def is_up(host: Host, now_us: int) -> bool:
    """Whether the host gave a sign of life within its lease; one far ahead of the clock says nothing."""
    return abs(now_us - host.seen_at_us) <= LEASE_S * 1_000_000
