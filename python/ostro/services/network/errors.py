"""Neutron's errors. ``kind`` is the type in the answer's body; the class is what the caller can do. Source: neutron-lib's exceptions."""

from __future__ import annotations

from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable


class NetworkConflict(Conflict):
    """A conflict with a type of its own."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NetworkInvalid(Invalid):
    """A bad request with a type of its own."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NetworkExhausted(Unavailable):
    """Something that is drawn from a bounded range has run out."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NetworkForbidden(Forbidden):
    """This actor may not do this, or not set this attribute."""

    kind = "PolicyNotAuthorized"

    def __init__(self, rule: str) -> None:
        super().__init__(f"(rule:{rule}) is disallowed by policy")


def invalid_input(message: str) -> NetworkInvalid:
    """A value that breaks a rule."""
    return NetworkInvalid("InvalidInput", f"Invalid input for operation: {message}.")


def bad_value(attribute: str, reason: str) -> NetworkInvalid:
    """A value that is not of its attribute's form."""
    return NetworkInvalid("HTTPBadRequest", f"Invalid input for {attribute}. Reason: {reason}.")


def group_not_found(id_: str) -> NotFound:
    """A security group that is not there, or not for this actor."""
    return NotFound("security group", id_, f"Security group {id_} does not exist")


def address_taken(subnet_id: str, ip: str) -> NetworkConflict:
    """Two ports can't have one address."""
    return NetworkConflict("IpAddressAlreadyAllocated", f"IP address {ip} already allocated in subnet {subnet_id}")


def subnet_exhausted(subnet_id: str) -> NetworkConflict:
    """The subnet that was asked for has no address left in its pools."""
    return NetworkConflict("IpAddressGenerationFailure", f"No more IP addresses available for subnet {subnet_id}.")


def network_exhausted(network_id: str) -> NetworkConflict:
    """None of the network's subnets has an address left."""
    return NetworkConflict("IpAddressGenerationFailure", f"No more IP addresses available on network {network_id}.")


def device_not_owned(device_id: str) -> NetworkConflict:
    """A port that names somebody else's server as its own."""
    return NetworkConflict(
        "DeviceIDNotOwnedByTenant",
        f"The following device_id {device_id} is not owned by your tenant or matches another tenants router.",
    )


def mac_taken(network_id: str, mac: str) -> NetworkConflict:
    """Two ports of one network can't have one MAC address."""
    return NetworkConflict(
        "MacAddressInUse",
        f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
    )


class RevisionMismatch(Conflict):
    """The caller's ``If-Match`` names a revision that the object isn't at."""

    status = 412
    kind = "RevisionNumberConstraintFailed"

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(f"Constrained to {expected}, but current revision is {current}")
