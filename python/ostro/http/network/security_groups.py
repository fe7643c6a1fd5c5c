"""``/v2.0/security-groups``."""

from __future__ import annotations

from typing import Any

from ostro.http.network.body import (
    LOOSE_BOOLEAN,
    PROJECT,
    TEXT,
    expected_revision,
    items_of,
    one_or_many,
    only,
    project_of,
    rename,
    to_bool,
    wrap,
)
from ostro.http.network.listing import Attribute, Listing, common, pick
from ostro.http.network.listing import to_bool as bool_of_query
from ostro.http.network.security_group_rules import VIEW as RULE_VIEW
from ostro.http.network.security_group_rules import ensure_default, rule_view
from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, INTEGER, STRING, array, shape
from ostro.model.times import iso_z
from ostro.services.network import security_groups as service
from ostro.services.network.security_group_rules import RuleView
from ostro.services.network.security_groups import SecurityGroupSpec, SecurityGroupView
from ostro.store.paging import Where
from ostro.store.security_groups import SECURITY_GROUPS

_CHANGEABLE = {"name": TEXT, "description": TEXT, "stateful": LOOSE_BOOLEAN}
_ITEM = {"type": "object", "properties": {**PROJECT, **_CHANGEABLE}, "additionalProperties": False}
CREATE = one_or_many("security_group", "security_groups", _ITEM)
UPDATE = only("security_group", _CHANGEABLE)
VIEW = shape(
    {
        "id": STRING,
        "name": STRING,
        "description": STRING,
        "project_id": STRING,
        "tenant_id": STRING,
        "stateful": BOOLEAN,
        "shared": BOOLEAN,
        "security_group_rules": array(RULE_VIEW),
        "tags": array(STRING),
        "created_at": STRING,
        "updated_at": STRING,
        "revision_number": INTEGER,
    },
    required=(),
)
SHOWN = {"security_group": VIEW}
LISTING = Listing(
    "security_groups",
    SECURITY_GROUPS,
    {**common(), "stateful": Attribute("stateful", bool_of_query)},
    # No group is shared with other projects.
    {"shared": lambda values: Where("1 = 0" if any(bool_of_query(v) for v in values) else "1 = 1")},
)


def group_view(view: SecurityGroupView) -> dict[str, Any]:
    """A group as the API shows it."""
    group = view.group
    return {
        "id": group.id,
        "name": group.name,
        "stateful": group.stateful,
        "tenant_id": group.project_id,
        "project_id": group.project_id,
        "description": group.description,
        "shared": False,
        "security_group_rules": [rule_view(RuleView(rule, group.is_default)) for rule in view.rules],
        "tags": group.tags,
        "created_at": iso_z(group.created_at_us),
        "updated_at": iso_z(group.updated_at_us),
        "revision_number": group.revision_number,
    }


def _spec(item: dict[str, Any]) -> SecurityGroupSpec:
    return SecurityGroupSpec(
        project_id=project_of(item),
        name=item.get("name", ""),
        description=item.get("description", ""),
        stateful=to_bool(item.get("stateful", True)),
    )


@NETWORK.route(
    "GET",
    f"{V2}/security-groups",
    policy="network:get_security_group",
    rule=Rule.READER,
    response=shape({"security_groups": array(VIEW)}),
    query=LISTING.query,
    summary="List security groups",
)
async def list_security_groups(req: Request) -> Reply:
    page = LISTING.page(req)
    await ensure_default(req)
    return LISTING.reply(req, await req.read(service.list_security_groups, page), page, group_view)


@NETWORK.route(
    "POST",
    f"{V2}/security-groups",
    policy="network:create_security_group",
    rule=Rule.MEMBER,
    status=201,
    body=CREATE,
    response=shape({**SHOWN, "security_groups": array(VIEW)}, required=()),
    summary="Create one security group or several",
)
async def create_security_group(req: Request) -> Reply:
    specs = [_spec(item) for item in items_of(req, "security_group", "security_groups")]
    views = await req.run(service.create_security_groups, specs)
    return Reply(wrap(req, "security_group", "security_groups", [group_view(v) for v in views], pick(req)))


@NETWORK.route(
    "GET",
    f"{V2}/security-groups/{{security_group_id}}",
    policy="network:get_security_group",
    rule=Rule.READER,
    response=shape(SHOWN),
    query={"fields": STRING},
    summary="Show a security group",
)
async def show_security_group(req: Request) -> Reply:
    view = await req.read(service.get_security_group, req.params["security_group_id"])
    return Reply({"security_group": pick(req)(group_view(view))})


@NETWORK.route(
    "PUT",
    f"{V2}/security-groups/{{security_group_id}}",
    policy="network:update_security_group",
    rule=Rule.MEMBER,
    body=UPDATE,
    response=shape(SHOWN),
    summary="Update a security group",
)
async def update_security_group(req: Request) -> Reply:
    changes = rename(req.body["security_group"], {"name": None, "description": None, "stateful": to_bool})
    view = await req.run(
        service.update_security_group, req.params["security_group_id"], changes, expected_revision(req)
    )
    return Reply({"security_group": group_view(view)})


@NETWORK.route(
    "DELETE",
    f"{V2}/security-groups/{{security_group_id}}",
    policy="network:delete_security_group",
    rule=Rule.MEMBER,
    status=204,
    summary="Delete a security group",
)
async def delete_security_group(req: Request) -> Reply:
    await req.run(service.delete_security_group, req.params["security_group_id"], expected_revision(req))
    return Reply()
