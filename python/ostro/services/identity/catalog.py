"""The service catalogue: regions, services, endpoints; what a token is shown of them.

What this program speaks is put there once, laid out as today's DevStack does, and can be changed like anything else. The URL of such an
endpoint is a path: it is shown below whatever address the client used, so a cloud can be reached by several.

A project that endpoints or endpoint groups are tied to is shown those only; any other project is shown all.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from ostro.model.context import Actor, Context
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.model.ids import new_hex
from ostro.model.quotas import DEFAULTS
from ostro.runtime.world import World
from ostro.services.identity.access import missing
from ostro.services.identity.resources import Resource
from ostro.store.catalog import CATALOG_SERVICES, ENDPOINTS, REGIONS, CatalogRow, Endpoint, Region
from ostro.store.database import Database, Tx
from ostro.store.endpoint_groups import ENDPOINT_GROUPS, ENDPOINT_TIES, GROUP_TIES, forget_endpoint
from ostro.store.federation import SERVICE_PROVIDERS
from ostro.store.limits import LIMITS, REGISTERED_LIMITS, RegisteredLimit
from ostro.store.tokens import TOPIC

FRESH_S = 1.0
REMEMBER_MOST = 2_000


@dataclass(frozen=True)
class CatalogService:
    """One service of this program. ``path`` may hold ``$(project_id)s``; such an endpoint has no URL without a project scope."""

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


INTERFACES = ("public", "internal", "admin")
PLACE = "$(project_id)s"

CATALOG: tuple[CatalogService, ...] = (
    CatalogService("identity", "keystone", "/identity"),
    CatalogService("compute", "nova", "/compute/v2.1"),
    CatalogService("placement", "placement", "/placement"),
    CatalogService("network", "neutron", "/networking"),
    CatalogService("image", "glance", "/image"),
    CatalogService("block-storage", "cinder", "/volume/v3"),
    CatalogService("volumev3", "cinderv3", f"/volume/v3/{PLACE}"),
    CatalogService("object-store", "swift", f"/object-store/v1/AUTH_{PLACE}"),
)


def service_id(type_: str) -> str:
    """The id of one of this program's services."""
    return _IDS[type_]


_IDS = {entry.type: entry.id for entry in CATALOG}


def seed_limits(tx: Tx, world: World) -> None:
    """Register upstream's default limits, each only once ever: what an operator has changed or removed stays so."""
    for type_, limits in DEFAULTS.items():
        id_ = service_id(type_)
        for name, number in limits.items():
            if _is_new_seed(tx, f"limit:{type_}:{name}") and not REGISTERED_LIMITS.count(
                tx, service_id=id_, resource_name=name
            ):
                REGISTERED_LIMITS.insert(tx, RegisteredLimit(new_hex(world.random), id_, "", name, number, ""))


def seed_catalog(tx: Tx, region: str) -> None:
    """Put this program's services into the catalogue, each only once ever."""
    if _is_new_seed(tx, f"region:{region}"):
        REGIONS.insert_new(tx, Region(region, "", "", {}))
    for entry in CATALOG:
        if _is_new_seed(tx, entry.id):
            CATALOG_SERVICES.insert_new(tx, CatalogRow(entry.id, entry.type, entry.name, "", True, {}))
            for interface in INTERFACES:
                id_ = entry.endpoint_id(interface)
                ENDPOINTS.insert_new(tx, Endpoint(id_, entry.id, interface, region, entry.path, True, {}))
    tx.ring(TOPIC)


def _is_new_seed(tx: Tx, id_: str) -> bool:
    return tx.execute("INSERT INTO catalog_seeds (id) VALUES (?) ON CONFLICT DO NOTHING", (id_,)) == 1


def show_url(url: str, base_url: str, project_id: str = "") -> str:
    """An endpoint's URL for a client that came by ``base_url``, for a project if there is one."""
    if project_id:
        for name in ("project_id", "tenant_id"):
            url = url.replace(f"$({name})s", project_id).replace(f"%({name})s", project_id)
    return base_url + url if url.startswith("/") else url


def _needs_project(url: str) -> bool:
    return "(project_id)s" in url or "(tenant_id)s" in url


def _check_region(tx: Tx, _context: Context, fields: Mapping[str, Any], present: Region | None) -> None:
    """The parent must be there, and not below the region itself."""
    above = fields["parent_region_id"]
    seen: set[str] = set()
    while above:
        region = REGIONS.find(tx, id=above)
        if region is None:
            raise missing("region", above)
        if (present is not None and region.id == present.id) or region.id in seen:
            raise Conflict("A region can't be below itself.")
        seen.add(region.id)
        above = region.parent_region_id


def _remove_region(tx: Tx, row: Region) -> None:
    if ENDPOINTS.count(tx, region_id=row.id):
        raise Forbidden(f"Unable to delete region {row.id} because it or its child regions have associated endpoints.")
    for child in REGIONS.list(tx, parent_region_id=row.id):
        _remove_region(tx, child)
        REGIONS.delete(tx, child.id)


def _remove_service(tx: Tx, row: CatalogRow) -> None:
    for endpoint in ENDPOINTS.list(tx, service_id=row.id):
        _remove_endpoint(tx, endpoint)
        ENDPOINTS.delete(tx, endpoint.id)
    if REGISTERED_LIMITS.count(tx, service_id=row.id) or LIMITS.count(tx, service_id=row.id):
        raise Forbidden(f"Unable to delete service {row.id}: limits of its resources are registered.")
    tx.execute("DELETE FROM policy_associations WHERE service_id = ?", (row.id,))


def _remove_endpoint(tx: Tx, row: Endpoint) -> None:
    forget_endpoint(tx, row.id)


def _check_endpoint(tx: Tx, _context: Context, fields: Mapping[str, Any], _present: Endpoint | None) -> None:
    if CATALOG_SERVICES.find(tx, id=fields["service_id"]) is None:
        raise Invalid(f"Could not find service: {fields['service_id']}.")
    if fields["region_id"] and REGIONS.find(tx, id=fields["region_id"]) is None:
        raise Invalid(f"Could not find region: {fields['region_id']}.")


REGION: Resource[Region] = Resource(
    REGIONS,
    "region",
    "regions",
    {"parent_region_id": "", "description": ""},
    check=_check_region,
    removed=_remove_region,
    rings=True,
)
SERVICE: Resource[CatalogRow] = Resource(
    CATALOG_SERVICES,
    "service",
    "services",
    {"type": "", "name": "", "description": "", "enabled": True},
    removed=_remove_service,
    rings=True,
)
ENDPOINT: Resource[Endpoint] = Resource(
    ENDPOINTS,
    "endpoint",
    "endpoints",
    {"service_id": "", "interface": "", "region_id": "", "url": "", "enabled": True},
    check=_check_endpoint,
    removed=_remove_endpoint,
    rings=True,
)


def ensure_region(tx: Tx, _context: Context, region_id: str) -> None:
    """Make a region that an endpoint names by the old field ``region`` and that isn't there."""
    REGIONS.insert_new(tx, Region(region_id, "", "", {}))


def _tied_endpoints(tx: Tx, project_id: str, endpoints: list[Endpoint]) -> set[str] | None:
    """Ids of the endpoints that the project is tied to, directly or by groups; None when it is tied to none."""
    direct = {tie.endpoint_id for tie in ENDPOINT_TIES.list(tx, project_id=project_id)}
    group_ids = [tie.endpoint_group_id for tie in GROUP_TIES.list(tx, project_id=project_id)]
    if not direct and not group_ids:
        return None
    for group in ENDPOINT_GROUPS.list(tx, id=group_ids):
        direct |= {endpoint.id for endpoint in endpoints if fits(endpoint, group.filters)}
    return direct


def fits(endpoint: Endpoint, filters: Mapping[str, Any]) -> bool:
    """Whether an endpoint group's filters let an endpoint in."""
    return all(getattr(endpoint, name, None) == value for name, value in filters.items())


Entries = list[tuple[CatalogRow, list[Endpoint]]]


def load_catalog(tx: Tx, project_id: str) -> Entries:
    """Enabled services and endpoints that a token of the project, or of no project, is shown."""
    services = CATALOG_SERVICES.list(tx, enabled=True, order="type, id")
    endpoints = ENDPOINTS.list(tx, enabled=True, order="interface DESC, id")
    tied = _tied_endpoints(tx, project_id, endpoints) if project_id else None
    by_service: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        if (tied is None or endpoint.id in tied) and (project_id or not _needs_project(endpoint.url)):
            by_service.setdefault(endpoint.service_id, []).append(endpoint)
    return [(row, by_service.get(row.id, [])) for row in services if tied is None or row.id in by_service]


def render_catalog(entries: Entries, base_url: str, project_id: str) -> list[dict[str, Any]]:
    """The catalogue as a token holds it."""
    return [
        {
            "id": row.id,
            "type": row.type,
            "name": row.name,
            "endpoints": [
                {
                    "id": endpoint.id,
                    "interface": endpoint.interface,
                    "region": endpoint.region_id or None,
                    "region_id": endpoint.region_id or None,
                    "url": show_url(endpoint.url, base_url, project_id),
                }
                for endpoint in endpoints
            ],
        }
        for row, endpoints in entries
    ]


def load_service_providers(tx: Tx) -> list[dict[str, Any]]:
    """Enabled service providers as a token shows them."""
    rows = SERVICE_PROVIDERS.list(tx, enabled=True, order="id")
    return [{"id": row.id, "auth_url": row.auth_url, "sp_url": row.sp_url} for row in rows]


class Catalogs:
    """What tokens are shown of the catalogue, remembered for ``FRESH_S`` and forgotten when the identity doorbell rings."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[tuple[str, str], tuple[list[dict[str, Any]], float]] = OrderedDict()
        self._partners: tuple[list[dict[str, Any]], float] = ([], float("-inf"))
        db.doorbell.subscribe(TOPIC, self._forget)

    def _forget(self) -> None:
        self._known.clear()
        self._partners = ([], float("-inf"))

    async def show_service_providers(self) -> list[dict[str, Any]]:
        """The other clouds that take our users, as tokens hold them. Not to be changed by the caller."""
        if self._partners[1] <= trio.current_time():
            self._partners = (await self._db.read(load_service_providers), trio.current_time() + FRESH_S)
        return self._partners[0]

    async def show(self, actor: Actor, base_url: str) -> list[dict[str, Any]]:
        """The catalogue of a token; empty for an unscoped one. Not to be changed by the caller."""
        if not (actor.project_id or actor.domain_id or actor.system):
            return []
        key = (actor.project_id, base_url)
        known = self._known.get(key)
        if known is not None and known[1] > trio.current_time():
            return known[0]
        shown = render_catalog(await self._db.read(load_catalog, actor.project_id), base_url, actor.project_id)
        self._known[key] = (shown, trio.current_time() + FRESH_S)
        while len(self._known) > REMEMBER_MOST:
            self._known.popitem(last=False)
        return shown
