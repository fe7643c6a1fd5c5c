"""The service catalogue: what this program speaks, laid out as today's DevStack does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ostro.model.context import Actor


@dataclass(frozen=True)
class CatalogService:
    """One entry. ``path`` may hold ``{project_id}``; such an entry has no URL without a project scope."""

    type: str
    name: str
    path: str

    @property
    def id(self) -> str:
        """Stable across restarts and installations."""
        return hashlib.md5(f"service:{self.type}".encode(), usedforsecurity=False).hexdigest()

    def endpoint_id(self, interface: str) -> str:
        """Stable, one for each interface."""
        return hashlib.md5(f"endpoint:{self.type}:{interface}".encode(), usedforsecurity=False).hexdigest()

    def url(self, base_url: str, project_id: str) -> str:
        """The endpoint's URL for a project."""
        return base_url + self.path.replace("{project_id}", project_id)


INTERFACES = ("public", "internal", "admin")

CATALOG: tuple[CatalogService, ...] = (
    CatalogService("identity", "keystone", "/identity"),
    CatalogService("compute", "nova", "/compute/v2.1"),
    CatalogService("placement", "placement", "/placement"),
    CatalogService("network", "neutron", "/networking"),
    CatalogService("image", "glance", "/image"),
    CatalogService("block-storage", "cinder", "/volume/v3"),
    CatalogService("volumev3", "cinderv3", "/volume/v3/{project_id}"),
    CatalogService("object-store", "swift", "/object-store/v1/AUTH_{project_id}"),
)


def build_catalog(actor: Actor, base_url: str, region: str) -> list[dict[str, Any]]:
    """The catalogue of a token, empty for an unscoped one."""
    if not (actor.project_id or actor.domain_id or actor.system):
        return []
    return [
        {
            "id": entry.id,
            "type": entry.type,
            "name": entry.name,
            "endpoints": [
                {
                    "id": entry.endpoint_id(interface),
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": entry.url(base_url, actor.project_id),
                }
                for interface in INTERFACES
                if actor.project_id or "{project_id}" not in entry.path
            ],
        }
        for entry in CATALOG
    ]
