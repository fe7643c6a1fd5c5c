"""IPv4 arithmetic, and giving addresses to ports.

``plan_addresses`` turns what a port asks for into claims, without touching anything; ``claim_addresses`` carries them out for one port or for
many of one network at once.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ostro.model.errors import NotFound
from ostro.model.wishes import FixedIp
from ostro.services.network.errors import (
    NetworkInvalid,
    address_taken,
    invalid_input,
    network_exhausted,
    subnet_exhausted,
)
from ostro.store.addresses import Range, claim_address, claim_any
from ostro.store.database import Tx
from ostro.store.subnets import SUBNETS, Pool, Subnet


class WantedIp(msgspec.Struct, frozen=True):
    """An address as a port asks for it: any of a subnet, or this one, or both. Empty is "choose"."""

    subnet_id: str = ""
    ip: str = ""


@dataclass(frozen=True)
class Claim:
    """One address to be had: ``address`` in the only candidate, or any of the first candidate that has one left."""

    candidates: tuple[Subnet, ...]
    address: int | None = None


def to_number(ip: str) -> int:
    """An IPv4 address as a number. Raises ValueError."""
    return int(ipaddress.IPv4Address(ip))


def to_text(number: int) -> str:
    """The opposite of ``to_number``."""
    return str(ipaddress.IPv4Address(number))


def usable(cidr: str) -> Range:
    """The addresses of a prefix that a port may have: all but its first and last, which very small prefixes have none of."""
    network = ipaddress.IPv4Network(cidr)
    first, last = int(network.network_address), int(network.broadcast_address)
    return Range(first + 1, last - 1) if network.prefixlen <= 30 else Range(first, last)


def pool_ranges(pools: Sequence[Pool]) -> list[Range]:
    """Pools as numbers, in order."""
    return sorted((Range(to_number(p.start), to_number(p.end)) for p in pools), key=lambda r: r.first)


def _serves(subnet: Subnet, device_owner: str) -> bool:
    """Whether the subnet is for devices of this kind; one without service types is for all."""
    return not subnet.service_types or any(device_owner.startswith(t) for t in subnet.service_types)


def _find_subnet(subnets: Sequence[Subnet], wanted: WantedIp, number: int) -> Subnet:
    """The subnet of the network that ``wanted`` means. Raises NetworkInvalid."""
    if not subnets:
        raise invalid_input("IP allocation requires subnets for network")
    for subnet in subnets:
        within = usable(subnet.cidr)
        fits = within.first <= number <= within.last
        if wanted.subnet_id == subnet.id:
            if wanted.ip and not fits:
                raise NetworkInvalid(
                    "InvalidIpForSubnet", f"IP address {wanted.ip} is not a valid IP for the specified subnet."
                )
            return subnet
        if not wanted.subnet_id and fits:
            return subnet
    raise NetworkInvalid(
        "InvalidIpForNetwork",
        f"IP address {wanted.ip} is not a valid IP for any of the subnets on the specified network.",
    )


def plan_addresses(
    tx: Tx, network_id: str, subnets: Sequence[Subnet], wanted: Sequence[WantedIp] | None, device_owner: str
) -> list[Claim]:
    """What to claim for one port. ``wanted`` is None for the default: one address of whichever subnet has one left.

    Raises NetworkInvalid, and NotFound for a subnet that is not there.
    """
    if wanted is None:
        candidates = tuple(s for s in subnets if _serves(s, device_owner))
        if subnets and not candidates:
            raise _no_service_subnet(network_id, device_owner)
        return [Claim(candidates)] if candidates else []
    claims = []
    for item in wanted:
        if item.subnet_id and all(s.id != item.subnet_id for s in subnets):
            _refuse_foreign_subnet(tx, network_id, item.subnet_id)
        number = _parse(item.ip) if item.ip else -1
        subnet = _find_subnet(subnets, item, number)
        claims.append(Claim((subnet,), number if item.ip else None))
    return claims


def _no_service_subnet(network_id: str, device_owner: str) -> Exception:
    error = network_exhausted(network_id)
    error.kind = "IpAddressGenerationFailureNoMatchingSubnet"
    error.message = (
        f"No valid service subnet for the given device owner, network {network_id}, service type {device_owner}."
    )
    return error


def _parse(ip: str) -> int:
    try:
        return to_number(ip)
    except ValueError as error:
        raise NetworkInvalid(
            "HTTPBadRequest", f"Invalid input for fixed_ips. Reason: '{ip}' is not a valid IP address."
        ) from error


def _refuse_foreign_subnet(tx: Tx, network_id: str, subnet_id: str) -> None:
    if SUBNETS.find(tx, id=subnet_id) is None:
        raise NotFound("subnet", subnet_id)
    raise invalid_input(
        f"Failed to create port on network {network_id}, because fixed_ips included invalid subnet {subnet_id}"
    )


def claim_addresses(
    tx: Tx, network_id: str, plans: Sequence[tuple[str, Sequence[Claim]]], rng: random.Random
) -> dict[str, list[FixedIp]]:
    """Carry out the plans of ports (id, claims) of one network: each port's addresses, in the order of its claims.

    Raises NetworkConflict when an address is taken or none is left; then the transaction must not be committed.
    """
    out: dict[str, list[FixedIp]] = {port_id: [] for port_id, _ in plans}
    for port_id, claims in plans:
        for claim in claims:
            if claim.address is not None:
                subnet = claim.candidates[0]
                if not claim_address(tx, subnet.id, claim.address, port_id):
                    raise address_taken(subnet.id, to_text(claim.address))
    # Given addresses first, so that a drawn one can't take what another port of the same request asks for.
    drawn = _draw(tx, network_id, plans, rng)
    for port_id, claims in plans:
        for place, claim in enumerate(claims):
            if claim.address is not None:
                out[port_id].append(FixedIp(claim.candidates[0].id, to_text(claim.address)))
            else:
                out[port_id].append(drawn[port_id, place])
    return out


def _draw(
    tx: Tx, network_id: str, plans: Sequence[tuple[str, Sequence[Claim]]], rng: random.Random
) -> dict[tuple[str, int], FixedIp]:
    """The claims without an address, by (port, place). Ports that can take the same subnets are served together."""
    together: dict[tuple[int, tuple[str, ...]], tuple[Claim, list[str]]] = {}
    for port_id, claims in plans:
        for place, claim in enumerate(claims):
            if claim.address is None:
                key = (place, tuple(s.id for s in claim.candidates))
                together.setdefault(key, (claim, []))[1].append(port_id)
    out: dict[tuple[str, int], FixedIp] = {}
    for (place, _), (claim, port_ids) in together.items():
        waiting = port_ids
        for subnet in claim.candidates:
            claimed = claim_any(tx, subnet.id, pool_ranges(subnet.allocation_pools), waiting, rng)
            for port_id, number in claimed.items():
                out[port_id, place] = FixedIp(subnet.id, to_text(number))
            waiting = [port_id for port_id in waiting if port_id not in claimed]
            if not waiting:
                break
        if waiting:
            one = len(claim.candidates) == 1
            raise subnet_exhausted(claim.candidates[0].id) if one else network_exhausted(network_id)
    return out
