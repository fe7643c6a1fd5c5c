"""Hosts and their revisions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import msgspec

from ostro.model.errors import NotFound
from ostro.model.registration import Inventory
from ostro.store.database import Tx
from ostro.store.table import Table


class Host(msgspec.Struct, frozen=True):
    """A machine with an agent. ``revision`` grows with every change of what the host must do.

    ``epoch`` grows each time the host is declared dead; what it says at an older one is not heard. ``fence_ms`` is after how much silence
    it surely pauses its servers on shared disks, 0 for never. ``forced_down`` is an operator's word.
    """

    id: str
    name: str
    revision: int
    incarnation: str
    tunnel_ip: str
    inventory: Inventory
    enabled: bool
    disabled_reason: str
    registered_at_us: int
    seen_at_us: int
    epoch: int = 1
    fence_ms: int = 0
    forced_down: bool = False


HOSTS = Table("hosts", Host)
_RAISE = "UPDATE hosts SET revision = revision + 1 WHERE id = ?"


def find_named_host(tx: Tx, name: str) -> Host | None:
    """The host of this name, in upper or lower case; of several, from before names were compared so, the one that is written so."""
    sql = f"SELECT {HOSTS.select_list} FROM hosts WHERE lower(name) = ? ORDER BY name <> ?, id LIMIT 1"
    row = tx.one(sql, (name.lower(), name))
    return None if row is None else HOSTS.load(row)


def raise_revision(tx: Tx, host_id: str) -> int:
    """Raise the host's revision and ring its doorbell; the new revision.

    The row lock orders commits per host: whoever reads up to a revision has read everything before it.
    """
    row = tx.one(f"{_RAISE} RETURNING revision", (host_id,))
    if row is None:
        raise NotFound("host", host_id)
    tx.ring(host_topic(host_id))
    return int(row[0])


def send_revision(tx: Tx, host_id: str) -> None:
    """The same for whoever reads the new revision from the row, and so learns that there is none."""
    tx.send(_RAISE, (host_id,))
    tx.ring(host_topic(host_id))


class HostLife(NamedTuple):
    """Whether a host is up and takes servers: what lists of thousands need of it."""

    id: str
    name: str
    enabled: bool
    disabled_reason: str
    seen_at_us: int
    forced_down: bool


def list_lives(tx: Tx) -> list[HostLife]:
    """Every host's, in the order of registration."""
    rows = tx.all(
        "SELECT id, name, enabled, disabled_reason, seen_at_us, forced_down FROM hosts ORDER BY registered_at_us, id"
    )
    return [HostLife(id_, name, bool(on), reason, int(at_us), bool(off)) for id_, name, on, reason, at_us, off in rows]


def list_alive(tx: Tx, host_ids: Sequence[str], since_us: int) -> set[str]:
    """Those of the hosts that gave a sign of life since then and were not declared dead."""
    return ask_alive(tx, host_ids, since_us)()


def ask_alive(tx: Tx, host_ids: Sequence[str], since_us: int) -> Callable[[], set[str]]:
    """``list_alive`` for whoever has more to ask."""
    if not host_ids:
        return set
    marks = ", ".join("?" * len(host_ids))
    rows = tx.ask(
        f"SELECT id FROM hosts WHERE seen_at_us >= ? AND forced_down = 0 AND id IN ({marks})", (since_us, *host_ids)
    )
    return lambda: {row[0] for row in rows()}


def list_host_ids(tx: Tx, among: Collection[str] | None = None) -> set[str]:
    """Every host's id, or those of these ids that are a host's."""
    if among is None:
        return {row[0] for row in tx.all("SELECT id FROM hosts")}
    return {row[0] for row in tx.all(f"SELECT id FROM hosts WHERE id IN ({', '.join('?' * len(among))})", tuple(among))}


def count_hosts_until(tx: Tx, host: Host) -> int:
    """The host's place in the order of registration, from 1."""
    row = tx.one(
        "SELECT count(*) FROM hosts WHERE registered_at_us < ? OR (registered_at_us = ? AND id <= ?)",
        (host.registered_at_us, host.registered_at_us, host.id),
    )
    assert row is not None, "a count is one row"
    return int(row[0])


HOSTS_TOPIC = "hosts"
"""The doorbell that rings when a host has registered."""


def is_host_seen_since(tx: Tx, at_us: int) -> bool:
    """Whether any host has given a sign of life since then."""
    return tx.one("SELECT 1 FROM hosts WHERE seen_at_us >= ? LIMIT 1", (at_us,)) is not None


def host_topic(host_id: str) -> str:
    """The doorbell that rings when the host has something new to do."""
    return f"host:{host_id}"
