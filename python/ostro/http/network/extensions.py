"""``/v2.0/extensions``: what of Neutron's API is really here. An alias in this table is a promise that a test keeps."""

from __future__ import annotations

from typing import Any

from ostro.http.network.listing import pick
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, array, shape
from ostro.model.errors import NotFound

EXTENSIONS: dict[str, tuple[str, str]] = {
    "allowed-address-pairs": ("Allowed Address Pairs", "Provides allowed address pairs"),
    "availability_zone": ("Availability Zone", "The availability zone extension."),
    "binding": ("Port Binding", "Expose port bindings of a virtual port to external application"),
    "filter-validation": ("Filter parameters validation", "Provides validation on filter parameters."),
    "net-mtu": ("Network MTU", "Provides MTU attribute for a network resource."),
    "net-mtu-writable": ("Network MTU (writable)", "Provides a writable MTU attribute for a network resource."),
    "network-ip-availability": (
        "Network IP Availability",
        "Provides IP availability data for each network and subnet.",
    ),
    "pagination": ("Pagination support", "Extension that indicates that pagination is enabled."),
    "port-mac-address-regenerate": ("Neutron Port MAC address regenerate", "Network port MAC address regenerate"),
    "port-security": ("Port Security", "Provides port security"),
    "port-security-groups-filtering": (
        "Port filtering on security groups",
        "Provides security groups filtering when listing ports",
    ),
    "project-id": ("project_id field enabled", "Extension that indicates that project_id field is enabled."),
    "provider": ("Provider Network", "Expose mapping of virtual networks to physical networks"),
    "quota-check-limit": (
        "Quota engine limit check",
        "Support for checking the resource usage before applying a new quota limit",
    ),
    "quota_details": ("Quota details management support", "Expose functions for quotas usage statistics per project"),
    "quotas": ("Quota management support", "Expose functions for quotas management per project"),
    "revision-if-match": (
        "If-Match constraints based on revision_number",
        "Extension indicating that If-Match based on revision_number is supported.",
    ),
    "security-group": ("security-group", "The security groups extension."),
    "security-groups-normalized-cidr": (
        "Normalized CIDR field for security group rules",
        "Add new field with normalized remote_ip_prefix cidr in SG rule",
    ),
    "security-groups-rules-belongs-to-default-sg": (
        "Security group rule belongs to the project's default security group",
        "Flag to determine if the security group rule belongs to the project's default security group",
    ),
    "security-groups-shared-filtering": (
        "Security group filtering on the shared field",
        "Support filtering security groups on the shared field",
    ),
    "service-type": (
        "Neutron Service Type Management",
        "API for retrieving service providers for Neutron advanced services",
    ),
    "sorting": ("Sorting support", "Extension that indicates that sorting is enabled."),
    "standard-attr-description": ("standard-attr-description", "Extension to add descriptions to standard attributes"),
    "standard-attr-revisions": (
        "Resource revision numbers",
        "This extension will display the revision number of neutron resources.",
    ),
    "standard-attr-tag": (
        "Tag support for resources with standard attribute: network, subnet, port, security_group",
        "Enables to set tag on resources with standard attribute.",
    ),
    "standard-attr-timestamp": (
        "Resource timestamps",
        "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes.",
    ),
    "stateful-security-group": ("Stateful security group", "Indicates if the security group is stateful or not"),
    "subnet-service-types": ("Subnet service types", "Provides ability to set the subnet service_types field"),
    "tag-creation": ("Tag creation extension", "Allow to create multiple tags to a resource"),
    "tag-ports-during-bulk-creation": (
        "Tag Ports During Bulk Creation",
        "Allow to tag ports during bulk creation",
    ),
}
"""Alias -> (name, description)."""

UPDATED = "2026-01-01T00:00:00-00:00"
VIEW = shape({"alias": STRING, "name": STRING, "description": STRING, "updated": STRING}, required=())


def _view(alias: str) -> dict[str, Any]:
    name, description = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": description, "updated": UPDATED, "links": []}


@NETWORK.route(
    "GET",
    f"{V2}/extensions",
    policy="network:get_extension",
    rule=Rule.AUTHENTICATED,
    response=shape({"extensions": array(VIEW)}),
    query={"fields": STRING},
    summary="List extensions",
)
async def list_extensions(req: Request) -> Reply:
    fields = pick(req)
    return Reply({"extensions": [fields(_view(alias)) for alias in EXTENSIONS]})


@NETWORK.route(
    "GET",
    f"{V2}/extensions/{{alias}}",
    policy="network:get_extension",
    rule=Rule.AUTHENTICATED,
    response=shape({"extension": VIEW}),
    summary="Show an extension",
)
async def show_extension(req: Request) -> Reply:
    alias = req.params["alias"]
    if alias not in EXTENSIONS:
        raise NotFound("extension", alias, f"Extension with alias {alias} does not exist")
    return Reply({"extension": _view(alias)})
