"""The catalogue's own rows: regions, services and endpoints beside those that this program is."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.table import Table


class Region(msgspec.Struct, frozen=True):
    """A region; ``parent_region_id`` is empty at the top."""

    id: str
    parent_region_id: str
    description: str
    extra: dict[str, Any]


class CatalogRow(msgspec.Struct, frozen=True):
    """A service that somebody else runs."""

    id: str
    type: str
    name: str
    description: str
    enabled: bool
    extra: dict[str, Any]


class Endpoint(msgspec.Struct, frozen=True):
    """Where a service answers; ``region_id`` may be empty, ``url`` may hold ``$(project_id)s``."""

    id: str
    service_id: str
    interface: str
    region_id: str
    url: str
    enabled: bool
    extra: dict[str, Any]


REGIONS = Table("regions", Region)
CATALOG_SERVICES = Table("catalog_services", CatalogRow, noun="service")
ENDPOINTS = Table("endpoints", Endpoint)
