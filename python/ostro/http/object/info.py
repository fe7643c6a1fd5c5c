"""``/info``: what this installation can do, and its bounds."""

from __future__ import annotations

from ostro import __version__
from ostro.http.object.service import OBJECT
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape
from ostro.services.object import limits


@OBJECT.route(
    "GET",
    "/info",
    policy="object:info",
    rule=Rule.PUBLIC,
    response=shape({"swift": ANY_OBJECT, "slo": ANY_OBJECT, "dlo": ANY_OBJECT}),
    summary="Show what the object storage can do",
)
async def show_object_info(req: Request) -> Reply:
    swift = {
        "version": __version__,
        "policies": [{"name": limits.POLICY, "aliases": limits.POLICY, "default": True}],
        "max_file_size": limits.FILE_MOST_BYTES,
        "max_object_name_length": limits.OBJECT_NAME_MOST_BYTES,
        "max_container_name_length": limits.CONTAINER_NAME_MOST_BYTES,
        "max_account_name_length": 256,
        "max_meta_name_length": limits.META_NAME_MOST_BYTES,
        "max_meta_value_length": limits.META_VALUE_MOST_BYTES,
        "max_meta_count": limits.META_MOST,
        "max_meta_overall_size": limits.META_OVERALL_MOST_BYTES,
        "max_header_size": limits.HEADER_MOST_BYTES,
        "container_listing_limit": limits.LISTING_MOST,
        "account_listing_limit": limits.LISTING_MOST,
        "account_autocreate": True,
        "allow_account_management": False,
        "extra_header_count": 0,
        "strict_cors_mode": True,
        "valid_api_versions": ["v1"],
    }
    slo = {
        "max_manifest_segments": limits.SEGMENTS_MOST,
        "max_manifest_size": limits.MANIFEST_MOST_BYTES,
        "min_segment_size": 1,
    }
    quotas: dict[str, dict[str, object]] = {"container_quotas": {}, "account_quotas": {}}
    return Reply({"swift": swift, "slo": slo, "dlo": {"max_segments": limits.LISTING_MOST}, **quotas})
