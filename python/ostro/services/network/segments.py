"""Segments: what carries a network between hosts, and how large a packet it lets through.

A tenant's network is a VXLAN with a number drawn at random: random, so that requests that run at once don't wait for one another, and
unique by the store. An administrator may ask for any kind and number.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ostro.model.context import Context
from ostro.services.network.errors import NetworkConflict, NetworkExhausted, bad_value, invalid_input
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS, Network

UNDERLAY_MTU = 1500
IPV4_LEAST_MTU = 68
TENANT_TYPE = "vxlan"
DRAWS_MOST = 32

OVERHEAD = {"vxlan": 50, "gre": 42, "geneve": 58, "vlan": 0, "flat": 0, "local": 0}
"""Bytes that the kind takes of the underlay's packets. A VLAN tag is not part of the underlay's MTU."""
NUMBERS = {"vxlan": (1, 2**24 - 1), "gre": (1, 2**32 - 1), "geneve": (1, 2**24 - 1), "vlan": (1, 4094)}
PHYSICAL = ("vlan", "flat")


class SegmentSpec(msgspec.Struct, frozen=True):
    """A segment as it is asked for: all empty is the tenants' kind."""

    network_type: str = ""
    physical_network: str = ""
    segmentation_id: int | None = None


def most_mtu(network_type: str) -> int:
    """The largest packet on a network of this kind."""
    return UNDERLAY_MTU - OVERHEAD[network_type]


def choose_mtu(requested: int | None, network_type: str, attribute_error: Callable[[str], Exception]) -> int:
    """The MTU of a network: the kind's own unless a smaller one is asked for; 0 is the same as not asking."""
    most = most_mtu(network_type)
    if not requested:
        return most
    if requested > most:
        raise attribute_error(f"Requested MTU is too big, maximum is {most}")
    if requested < IPV4_LEAST_MTU:
        raise attribute_error(f"Requested MTU is too small, minimum is {IPV4_LEAST_MTU}")
    return requested


def check_segment(spec: SegmentSpec) -> SegmentSpec:
    """Raise NetworkInvalid for a segment that can't be."""
    kind = spec.network_type
    if not kind:
        if spec.physical_network or spec.segmentation_id is not None:
            raise invalid_input("network_type required")
        return spec
    if kind not in OVERHEAD:
        raise invalid_input(f"network_type value '{kind}' not supported")
    if kind in PHYSICAL and not spec.physical_network:
        raise invalid_input(f"physical_network required for {'flat' if kind == 'flat' else 'VLAN'} provider network")
    if kind not in PHYSICAL and spec.physical_network:
        raise invalid_input(f"provider:physical_network specified for {kind} network")
    if spec.segmentation_id is None:
        if kind == "vlan":
            raise invalid_input("segmentation_id required for VLAN provider network")
        return spec
    if kind not in NUMBERS:
        raise invalid_input(f"provider:segmentation_id specified for {kind} network")
    low, high = NUMBERS[kind]
    if not low <= spec.segmentation_id <= high:
        raise bad_value("provider:segmentation_id", f"'{spec.segmentation_id}' is not between {low} and {high}")
    return spec


def insert_with_segment(tx: Tx, context: Context, network: Network, spec: SegmentSpec) -> Network:
    """Add the network's row with a segment of its own. ``spec`` has been checked.

    Raises NetworkConflict for a segment that is taken, NetworkExhausted when no number is found.
    """
    kind = spec.network_type or TENANT_TYPE
    network = msgspec.structs.replace(network, network_type=kind, physical_network=spec.physical_network)
    if kind in NUMBERS and spec.segmentation_id is None:
        low, high = NUMBERS[kind]
        for _ in range(DRAWS_MOST):
            drawn = msgspec.structs.replace(network, segmentation_id=low + context.rng.randrange(high - low + 1))
            if NETWORKS.insert_new(tx, drawn):
                return drawn
        raise NetworkExhausted(
            "NoNetworkAvailable",
            "Unable to create the network. No project network is available for allocation.",
        )
    number = {"flat": 0, "local": None}.get(kind, spec.segmentation_id)
    network = msgspec.structs.replace(network, segmentation_id=number)
    if not NETWORKS.insert_new(tx, network):
        raise _taken(network)
    return network


def _taken(network: Network) -> NetworkConflict:
    start = "Unable to create the network. "
    match network.network_type:
        case "vlan":
            where = f"The VLAN {network.segmentation_id} on physical network {network.physical_network} is in use."
            return NetworkConflict("VlanIdInUse", start + where)
        case "flat":
            return NetworkConflict(
                "FlatNetworkInUse",
                f"Unable to create the flat network. Physical network {network.physical_network} is in use.",
            )
        case _:
            return NetworkConflict("TunnelIdInUse", f"{start}The tunnel ID {network.segmentation_id} is in use.")
