"""Networks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ostro.store.database import Tx
from ostro.store.paging import Where
from ostro.store.table import Table


class Network(msgspec.Struct, frozen=True):
    """A network and the segment that carries it.

    ``segmentation_id`` is None for a local network and 0 for a flat one. ``service_mac`` is the address of DHCP and metadata; it belongs to
    the network's ``network:distributed`` port where there is one.
    """

    id: str
    project_id: str
    name: str
    description: str
    admin_state_up: bool
    shared: bool
    mtu: int
    port_security_enabled: bool
    network_type: str
    physical_network: str
    segmentation_id: int | None
    service_mac: str
    tags: list[str]
    revision_number: int
    created_at_us: int
    updated_at_us: int


NETWORKS = Table("networks", Network)


def list_project_networks(tx: Tx, project_id: str) -> list[Network]:
    """The networks that a project may use: its own and shared ones, the oldest first."""
    return NETWORKS.select(tx, "WHERE project_id = ? OR shared = 1 ORDER BY created_at_us, id", (project_id,))


def map_networks(tx: Tx, ids: Sequence[str]) -> dict[str, Network]:
    """Networks by id; unknown ids are left out."""
    return NETWORKS.by_key(NETWORKS.list(tx, id=list(ids))) if ids else {}


def visible_to(project_id: str) -> Where:
    """Narrows a list to the project's own networks and shared ones."""
    return Where("networks.project_id = ? OR networks.shared = 1", (project_id,))
