"""Ports.

What a port shows is in its own row, addresses and groups included, so that showing one or listing a thousand is one statement. The
tables ``addresses`` and ``memberships`` say the same by address and by group; ``insert_ports`` and ``set_groups`` are the only
writers of memberships, and addresses are claimed before a row that shows them is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ostro.model.wishes import AddressPair, FixedIp
from ostro.store.changes import TOPIC
from ostro.store.database import Tx
from ostro.store.limits import Scope
from ostro.store.paging import Where
from ostro.store.table import Table

ROWS_MOST = 100
"""Rows in one INSERT: some 2,500 parameters, far below the bounds of both engines."""
MAC_TRIES = 16
COMPUTE_OWNER = "compute:"
DISTRIBUTED_OWNER = "network:distributed"
DHCP_OWNER = "network:dhcp"
AUTO_DELETE_OWNERS = (DISTRIBUTED_OWNER, DHCP_OWNER)
"""Owners of ports that go with their network or subnet."""
SERVICE_DEVICE_PREFIX = "ovnmeta-"
"""What OVN puts before a network's id to name the device of its port."""


class Port(msgspec.Struct, frozen=True):
    """A port.

    ``binding_host`` is the host name that was asked for, ``host_id`` the host of that name (empty while there is none).
    ``hostname``, ``nic_index``, ``nic_tag`` and ``owned_by_server`` (delete it with the server) are Compute's.
    While its server moves, ``arriving_host_id`` is the host that makes ready for it, and all others still find it at ``host_id``.
    """

    id: str
    network_id: str
    project_id: str
    name: str
    description: str
    mac_address: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str
    fixed_ips: list[FixedIp]
    security_groups: list[str]
    address_pairs: list[AddressPair]
    port_security_enabled: bool
    binding_host: str
    host_id: str
    vnic_type: str
    binding_profile: dict[str, Any]
    hostname: str
    nic_index: int
    owned_by_server: bool
    nic_tag: str
    tags: list[str]
    revision_number: int
    created_at_us: int
    updated_at_us: int
    arriving_host_id: str = ""


PORTS = Table("ports", Port, rings=TOPIC)


def insert_ports(tx: Tx, ports: Sequence[Port], draw_mac: Callable[[], str]) -> list[Port]:
    """Add ports and their memberships. One with an empty ``mac_address`` gets one that is free in its network.

    Returns the rows as written, in order; a port that is missing has a MAC address that is taken.
    """
    written: dict[str, Port] = {}
    waiting = list(ports)
    for _ in range(MAC_TRIES):
        rows = [p if p.mac_address else msgspec.structs.replace(p, mac_address=draw_mac()) for p in waiting]
        added = _insert(tx, rows)
        written.update((p.id, p) for p in rows if p.id in added)
        waiting = [p for p in waiting if p.id not in added and not p.mac_address]
        if not waiting:
            break
    _insert_memberships(tx, ((group_id, p.id) for p in written.values() for group_id in p.security_groups))
    return [written[p.id] for p in ports if p.id in written]


def _insert(tx: Tx, rows: Sequence[Port]) -> set[str]:
    """Insert rows; the ids of those that hit no unique constraint."""
    tx.ring(TOPIC)
    added: set[str] = set()
    for start in range(0, len(rows), ROWS_MOST):
        part = rows[start : start + ROWS_MOST]
        params = [value for p in part for value in PORTS.row(p)]
        marks = "(" + ", ".join("?" * len(PORTS.columns)) + ")"
        found = tx.all(
            f"INSERT INTO ports ({', '.join(PORTS.columns)}) VALUES {', '.join([marks] * len(part))}"
            " ON CONFLICT DO NOTHING RETURNING id",
            params,
        )
        added.update(row[0] for row in found)
    return added


def sum_ports(tx: Tx, scope: Scope) -> int:
    """How many ports a project has, or several: as the database has added them up (``port_use``)."""
    row = tx.one(*_summing(scope))
    assert row is not None
    return int(row[0])


def foresee_ports_sum(tx: Tx, scope: Scope) -> None:
    """``sum_ports`` will be asked (``Tx.foresee``)."""
    tx.foresee(*_summing(scope))


def _summing(scope: Scope) -> tuple[str, tuple[str, ...]]:
    return f"SELECT coalesce(sum(ports), 0) FROM port_use WHERE {scope.on('project_id')}", tuple(scope.params)


def list_wrong_port_sums(tx: Tx) -> list[str]:
    """Projects whose ports don't add up to what is noted of them: never any."""
    rows = tx.all(
        "SELECT project_id FROM (SELECT project_id, ports FROM port_use UNION ALL SELECT project_id, -1 FROM ports) AS both_ways"
        " GROUP BY project_id HAVING sum(ports) <> 0 ORDER BY project_id"
    )
    return [row[0] for row in rows]


def _insert_memberships(tx: Tx, pairs: Iterable[tuple[str, str]]) -> None:
    rows = list(pairs)
    for start in range(0, len(rows), ROWS_MOST):
        part = rows[start : start + ROWS_MOST]
        marks = ", ".join(["(?, ?)"] * len(part))
        tx.send(
            f"INSERT INTO memberships (security_group_id, port_id) VALUES {marks}",
            [value for pair in part for value in pair],
        )


def set_groups(tx: Tx, port_id: str, group_ids: Sequence[str]) -> None:
    """Make the port a member of these groups and no others. The caller writes them into the port's row."""
    tx.execute("DELETE FROM memberships WHERE port_id = ?", (port_id,))
    _insert_memberships(tx, ((group_id, port_id) for group_id in group_ids))


def is_mac_taken(tx: Tx, network_id: str, mac_address: str) -> bool:
    """Whether a port of the network has the MAC address."""
    return PORTS.find(tx, mac_address=mac_address, network_id=network_id) is not None


def list_device_ports(tx: Tx, device_id: str) -> list[Port]:
    """The ports of a server (or other device), in the order of its NICs."""
    return PORTS.list(tx, device_id=device_id, order="nic_index, created_at_us, id")


def ask_named_ports(tx: Tx, device_ids: Sequence[str]) -> Callable[[], list[tuple[str, Port]]]:
    """The ports of many devices with the names of their networks, each device's in the order of its NICs."""
    if not device_ids:
        return list
    rows = tx.ask(
        f"SELECT networks.name, {PORTS.select_list} FROM ports JOIN networks ON networks.id = ports.network_id"
        f" WHERE ports.device_id IN ({_marks(device_ids)}) ORDER BY ports.nic_index, ports.created_at_us, ports.id",
        tuple(device_ids),
    )
    return lambda: [(row[0], PORTS.load(row[1:])) for row in rows()]


def find_service_port(tx: Tx, network_id: str) -> Port | None:
    """The network's own port, which has the addresses of DHCP and metadata."""
    return PORTS.find(tx, device_id=SERVICE_DEVICE_PREFIX + network_id, device_owner=DISTRIBUTED_OWNER)


def list_bound_ports(tx: Tx, network_id: str) -> list[Port]:
    """The network's ports that are on any host."""
    return PORTS.select(tx, "WHERE network_id = ? AND host_id <> '' ORDER BY id", (network_id,))


def list_user_port_ids(tx: Tx, network_id: str) -> list[str]:
    """Ports that keep their network from being deleted: all but those that go with it."""
    rows = tx.all(
        f"SELECT id FROM ports WHERE network_id = ? AND device_owner NOT IN ({_marks(AUTO_DELETE_OWNERS)}) ORDER BY id",
        (network_id, *AUTO_DELETE_OWNERS),
    )
    return [row[0] for row in rows]


def has_user_address(tx: Tx, subnet_id: str) -> bool:
    """Whether a port that doesn't go with its subnet has an address of it."""
    row = tx.one(
        "SELECT 1 FROM addresses JOIN ports ON ports.id = addresses.port_id WHERE addresses.subnet_id = ?"
        f" AND ports.device_owner NOT IN ({_marks(AUTO_DELETE_OWNERS)}) LIMIT 1",
        (subnet_id, *AUTO_DELETE_OWNERS),
    )
    return row is not None


def list_addressed_ports(tx: Tx, subnet_id: str) -> list[Port]:
    """Ports with an address of the subnet."""
    return PORTS.select(tx, "WHERE id IN (SELECT port_id FROM addresses WHERE subnet_id = ?) ORDER BY id", (subnet_id,))


def has_foreign_port(tx: Tx, network_id: str, project_id: str) -> bool:
    """Whether a project other than this has a port on the network; ports of the network itself don't count."""
    row = tx.one(
        "SELECT 1 FROM ports WHERE network_id = ? AND project_id <> ?"
        " AND substr(device_owner, 1, 8) <> 'network:' LIMIT 1",
        (network_id, project_id),
    )
    return row is not None


def visible_to(project_id: str) -> Where:
    """Narrows a list to the project's own ports and those on its own networks."""
    return Where(
        "ports.project_id = ? OR ports.network_id IN (SELECT id FROM networks WHERE project_id = ?)",
        (project_id, project_id),
    )


def with_addresses(column: str, values: Sequence[Any]) -> Where:
    """Narrows a list to ports that have one of these addresses (``address``) or an address of one of these subnets (``subnet_id``)."""
    return Where(f"ports.id IN (SELECT port_id FROM addresses WHERE {column} IN ({_marks(values)}))", tuple(values))


def with_groups(group_ids: Sequence[str]) -> Where:
    """Narrows a list to members of any of these groups."""
    return Where(
        f"ports.id IN (SELECT port_id FROM memberships WHERE security_group_id IN ({_marks(group_ids)}))",
        tuple(group_ids),
    )


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def is_network_on_host(tx: Tx, network_id: str, host_id: str) -> bool:
    """Whether the host has a port of the network, or one is arriving there."""
    for column in ("host_id", "arriving_host_id"):
        if tx.one(f"SELECT 1 FROM ports WHERE {column} = ? AND network_id = ? LIMIT 1", (host_id, network_id)):
            return True
    return False


def is_group_on_host(tx: Tx, group_id: str, host_id: str) -> bool:
    """Whether a port of the host, or arriving there, uses the group. Costs the ports of the host at most, however large the group is."""
    for column in ("host_id", "arriving_host_id"):
        row = tx.one(
            f"SELECT 1 FROM ports CROSS JOIN memberships WHERE ports.{column} = ?"
            " AND memberships.port_id = ports.id AND memberships.security_group_id = ? LIMIT 1",
            (host_id, group_id),
        )
        if row is not None:
            return True
    return False


def list_remote_ports(tx: Tx, network_id: str, host_id: str) -> list[Port]:
    """The network's ports on other hosts."""
    return PORTS.select(
        tx, "WHERE network_id = ? AND host_id <> '' AND host_id <> ? ORDER BY id", (network_id, host_id)
    )
