"""Placement's errors: each has a code that never changes. Source: the Placement API reference, "Error codes"."""

from __future__ import annotations

from ostro.model.errors import Conflict, Invalid, NotFound

DUPLICATE_NAME = "placement.duplicate_name"
CONCURRENT_UPDATE = "placement.concurrent_update"
INVENTORY_IN_USE = "placement.inventory.inuse"
PROVIDER_IN_USE = "placement.resource_provider.inuse"
CANNOT_DELETE_PARENT = "placement.resource_provider.cannot_delete_parent"
PROVIDER_NOT_FOUND = "placement.resource_provider.not_found"
BAD_VALUE = "placement.query.bad_value"
DUPLICATE_KEY = "placement.query.duplicate_key"
MISSING_VALUE = "placement.query.missing_value"


class PlacementConflict(Conflict):
    """A conflict with a code."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class PlacementInvalid(Invalid):
    """A bad request with a code."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ProviderNotFound(NotFound):
    """There is no such provider."""

    code = PROVIDER_NOT_FOUND

    def __init__(self, provider_id: str) -> None:
        super().__init__("resource provider", provider_id, f"No resource provider with uuid {provider_id} found")


def generation_conflict() -> PlacementConflict:
    """The provider has been changed since the client looked at it."""
    return PlacementConflict("resource provider generation conflict", CONCURRENT_UPDATE)
