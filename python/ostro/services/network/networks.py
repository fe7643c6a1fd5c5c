"""Networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.services.network.access import acting_project, get_visible_network, owns
from ostro.services.network.changes import change, check_revision
from ostro.services.network.default_groups import ensure_default_group
from ostro.services.network.errors import NetworkConflict, NetworkForbidden, invalid_input
from ostro.services.network.ports import draw_mac, remove_port
from ostro.services.network.quotas import check_quotas
from ostro.services.network.segments import SegmentSpec, check_segment, choose_mtu, insert_with_segment
from ostro.services.network.wishes import rewish_network, rewish_network_ports
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS, Network, visible_to
from ostro.store.paging import Page, list_page
from ostro.store.ports import PORTS, has_foreign_port, list_user_port_ids
from ostro.store.subnets import has_foreign_subnet, map_subnet_ids


class NetworkSpec(msgspec.Struct, frozen=True):
    """A network as it is asked for. An empty project is the actor's own."""

    project_id: str = ""
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    shared: bool = False
    mtu: int | None = None
    port_security_enabled: bool = True
    segment: SegmentSpec = SegmentSpec()


class NetworkView(msgspec.Struct, frozen=True):
    """A network and the ids of its subnets."""

    network: Network
    subnet_ids: list[str]

    @property
    def id(self) -> str:
        return self.network.id


def create_networks(tx: Tx, context: Context, specs: Sequence[NetworkSpec]) -> list[NetworkView]:
    """Make networks, all or none. The project's default security group is made with its first network, as in Neutron.

    Raises NetworkForbidden, NetworkInvalid, NetworkConflict.
    """
    check_quotas(tx, context, (spec.project_id for spec in specs), "network")
    return [_create_network(tx, context, spec) for spec in specs]


def _create_network(tx: Tx, context: Context, spec: NetworkSpec) -> NetworkView:
    project_id = acting_project(context, spec.project_id, "create_network:project_id")
    if spec.shared and not context.may_also("network:create_network:shared"):
        raise NetworkForbidden("create_network:shared")
    if spec.segment != SegmentSpec() and not context.may_also("network:create_network:provider:network_type"):
        raise NetworkForbidden("create_network:provider:network_type")
    segment = check_segment(spec.segment)
    ensure_default_group(tx, context, project_id)
    network = Network(
        id=context.new_id(),
        project_id=project_id,
        name=spec.name,
        description=spec.description,
        admin_state_up=spec.admin_state_up,
        shared=spec.shared,
        mtu=0,
        port_security_enabled=spec.port_security_enabled,
        network_type="",
        physical_network="",
        segmentation_id=None,
        service_mac=draw_mac(context),
        tags=[],
        revision_number=1,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
    )
    mtu = choose_mtu(spec.mtu, segment.network_type or "vxlan", invalid_input)
    network = msgspec.structs.replace(network, mtu=mtu)
    return NetworkView(insert_with_segment(tx, context, network, segment), [])


def list_networks(tx: Tx, context: Context, page: Page) -> list[NetworkView]:
    """One page of networks: two statements."""
    scope = () if context.is_admin else (visible_to(context.project_id),)
    rows = list_page(tx, NETWORKS, page.with_filters(*scope))
    subnet_ids = map_subnet_ids(tx, [network.id for network in rows])
    return [NetworkView(network, subnet_ids[network.id]) for network in rows]


def view_network(tx: Tx, network: Network) -> NetworkView:
    """A network with its subnets."""
    return NetworkView(network, map_subnet_ids(tx, [network.id])[network.id])


def get_network(tx: Tx, context: Context, network_id: str) -> NetworkView:
    """Raises NotFound."""
    return view_network(tx, get_visible_network(tx, context, network_id))


def get_own_network(tx: Tx, context: Context, network_id: str, rule: str) -> Network:
    """A network that the actor may change. Raises NotFound for one that is unseen, NetworkForbidden for a shared one of others."""
    network = get_visible_network(tx, context, network_id)
    if not owns(context, network.project_id):
        raise NetworkForbidden(rule)
    return network


def update_network(
    tx: Tx, context: Context, network_id: str, changes: dict[str, Any], expected_revision: int | None = None
) -> NetworkView:
    """Change a network's own attributes; hosts and ports follow."""
    network = get_own_network(tx, context, network_id, "update_network")
    check_revision(network, expected_revision)
    if "shared" in changes and changes["shared"] != network.shared:
        if not context.may_also("network:update_network:shared", network.project_id):
            raise NetworkForbidden("update_network:shared")
        if not changes["shared"]:
            _check_unshared(tx, network)
    if "mtu" in changes:
        changes["mtu"] = choose_mtu(changes["mtu"], network.network_type, invalid_input)
    changed = change(tx, NETWORKS, network, context.now_us, changes)
    if (changed.name, changed.mtu) != (network.name, network.mtu):
        rewish_network(tx, changed)
    if changed.admin_state_up != network.admin_state_up:
        rewish_network_ports(tx, changed)
    return view_network(tx, changed)


def _check_unshared(tx: Tx, network: Network) -> None:
    """Raise NetworkConflict while other projects have something on the network."""
    if has_foreign_port(tx, network.id, network.project_id) or has_foreign_subnet(tx, network.id, network.project_id):
        raise NetworkConflict(
            "InvalidSharedSetting",
            f"Unable to reconfigure sharing settings for network {network.name}. Multiple projects are using it.",
        )


def delete_network(tx: Tx, context: Context, network_id: str, expected_revision: int | None = None) -> None:
    """Delete a network with its subnets and its service port. Raises NetworkConflict while it has other ports."""
    network = get_own_network(tx, context, network_id, "delete_network")
    check_revision(network, expected_revision)
    used = list_user_port_ids(tx, network_id)
    if used:
        raise NetworkConflict(
            "NetworkInUse",
            f"Unable to complete operation on network {network_id}. There are one or more ports still in use on the"
            f" network, id for these ports is: {','.join(used)}.",
        )
    for port in PORTS.list(tx, network_id=network_id, order="id"):
        remove_port(tx, port)
    NETWORKS.delete(tx, network_id)
