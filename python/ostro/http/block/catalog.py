"""What this API can do, as clients ask for it: extensions, filters, kinds of groups."""

from __future__ import annotations

from ostro.http.block.filters import LIST_QUERY
from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.http.versions import Version

EXTENSIONS = (
    ("os-availability-zone", "AvailabilityZones"),
    ("os-extended-snapshot-attributes", "ExtendedSnapshotAttributes"),
    ("os-quota-sets", "Quotas"),
    ("os-services", "Services"),
    ("os-types-manage", "TypesManage"),
    ("os-volume-type-access", "VolumeTypeAccess"),
    ("os-volume-encryption-metadata", "VolumeEncryptionMetadata"),
    ("encryption", "VolumeTypeEncryption"),
    ("qos-specs", "Qos_specs_manage"),
    ("os-types-extra-specs", "TypesExtraSpecs"),
    ("os-vol-host-attr", "VolumeHostAttribute"),
    ("os-vol-image-meta", "VolumeImageMetadata"),
    ("os-vol-tenant-attr", "VolumeTenantAttribute"),
    ("os-volume-actions", "VolumeActions"),
    ("os-admin-actions", "AdminActions"),
    ("scheduler-stats", "Scheduler_stats"),
)
PAGING = frozenset(("limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count"))


@BLOCK.route(
    "GET",
    "/extensions",
    policy="volume:extensions",
    rule=Rule.READER,
    response=shape({"extensions": array(ANY_OBJECT)}),
    summary="List extensions",
)
async def list_volume_extensions(req: Request) -> Reply:
    extensions = [
        {"alias": alias, "name": name, "description": name, "updated": "2016-01-01T00:00:00+00:00", "links": []}
        for alias, name in EXTENSIONS
    ]
    return Reply({"extensions": extensions})


@BLOCK.route(
    "GET",
    "/resource_filters",
    policy="volume:resource_filters",
    rule=Rule.READER,
    low=Version(3, 33),
    response=shape({"resource_filters": array(ANY_OBJECT)}),
    query={"resource": STRING},
    summary="List what lists can be narrowed by",
)
async def list_volume_filters(req: Request) -> Reply:
    filters = [{"resource": "volume", "filters": sorted(LIST_QUERY.keys() - PAGING)}]
    asked = req.query.get("resource")
    return Reply({"resource_filters": [f for f in filters if asked in (None, f["resource"])]})


@BLOCK.route(
    "GET",
    "/group_types",
    policy="group:group_types:get_all",
    rule=Rule.READER,
    low=Version(3, 11),
    response=shape({"group_types": array(ANY_OBJECT)}),
    summary="List group types; there are none",
)
async def list_group_types(req: Request) -> Reply:
    return Reply({"group_types": []})
