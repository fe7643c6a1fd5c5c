"""``/allocation_candidates`` (1.10): where a request could be satisfied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ostro.http.placement.service import (
    PLACEMENT,
    fresh_reply,
    parse_member_of,
    parse_required,
    parse_resources,
    parse_uuid,
    single,
)
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape
from ostro.http.versions import Version
from ostro.services.placement.candidates import Candidate, CandidateQuery, Group, find_candidates
from ostro.services.placement.engine import View
from ostro.services.placement.errors import BAD_VALUE, MISSING_VALUE, PlacementInvalid
from ostro.services.placement.names import STANDARD_CLASSES, STANDARD_TRAITS
from ostro.services.placement.resource_classes import list_resource_classes
from ostro.services.placement.traits import list_traits

_SUFFIXED = re.compile(r"(resources|required|member_of|in_tree)(.*)")
_NUMBER = re.compile(r"|[1-9][0-9]*")
_SUFFIX = re.compile(r"[a-zA-Z0-9_-]{0,64}")
_SINCE = {"resources": 10, "limit": 16, "required": 17, "member_of": 21, "group_policy": 25, "in_tree": 31}
_SINCE |= {"root_required": 35, "same_subtree": 36}
_CLASSES = frozenset(STANDARD_CLASSES)


def _suffix_of(req: Request, key: str) -> tuple[str, str]:
    """(parameter, suffix) of a query key. Raises PlacementInvalid for one that this version doesn't have."""
    found = _SUFFIXED.fullmatch(key)
    name, suffix = (found[1], found[2]) if found and key not in _SINCE else (key, "")
    known = name in _SINCE and req.at_least(1, _SINCE[name])
    form = _SUFFIX if req.at_least(1, 33) else _NUMBER
    if not known or (suffix and not req.at_least(1, 25)) or not form.fullmatch(suffix):
        raise PlacementInvalid(
            f"Invalid query string parameters: Additional properties are not allowed ('{key}' was unexpected)"
        )
    return name, suffix


def _groups(req: Request) -> dict[str, Group]:
    """The request's groups by suffix, the unnamed one first."""
    suffixes = {
        suffix
        for name, suffix in (_suffix_of(req, key) for key in req.query)
        if name in ("resources", "required", "member_of", "in_tree")
    }
    groups = {}
    for suffix in sorted(suffixes):
        resources, in_tree = single(req, f"resources{suffix}"), single(req, f"in_tree{suffix}")
        if resources is None and not (suffix and req.at_least(1, 36)):
            raise PlacementInvalid(
                "All request groups must specify resources."
                if suffix or len(suffixes) > 1
                else "Invalid query string parameters: 'resources' is a required property",
                MISSING_VALUE,
            )
        groups[suffix] = Group(
            resources={} if resources is None else parse_resources(resources),
            required=parse_required(req, f"required{suffix}", req.query.getlist(f"required{suffix}")),
            member_of=parse_member_of(req, f"member_of{suffix}", req.query.getlist(f"member_of{suffix}")),
            in_tree="" if in_tree is None else parse_uuid("in_tree", in_tree),
        )
    if not any(group.resources for group in groups.values()):
        raise PlacementInvalid("Invalid query string parameters: 'resources' is a required property", MISSING_VALUE)
    return groups


def _limit(req: Request) -> int | None:
    text = single(req, "limit")
    if text is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise PlacementInvalid(f"Invalid query string parameters: '{text}' does not match '^[1-9][0-9]*$'", BAD_VALUE)
    return int(text)


def parse_query(req: Request) -> CandidateQuery:
    """The whole request. Raises PlacementInvalid."""
    groups = _groups(req)
    policy = single(req, "group_policy")
    if policy not in (None, "none", "isolate"):
        raise PlacementInvalid(
            f"Invalid query string parameters: '{policy}' is not one of ['none', 'isolate']", BAD_VALUE
        )
    if policy is None and len([s for s, g in groups.items() if s and g.resources]) > 1:
        raise PlacementInvalid(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.',
            MISSING_VALUE,
        )
    subtrees = [value.split(",") for value in req.query.getlist("same_subtree")]
    unknown = {suffix for names in subtrees for suffix in names} - groups.keys()
    if unknown:
        raise PlacementInvalid(
            f"Real suffixes should be specified in same_subtree: {', '.join(sorted(unknown))}", BAD_VALUE
        )
    return CandidateQuery(
        groups=groups,
        isolate=policy == "isolate",
        root_required=parse_required(req, "root_required", req.query.getlist("root_required")),
        same_subtree=subtrees,
        limit=_limit(req),
        nested=req.at_least(1, 29),
    )


async def _check_names(req: Request, query: CandidateQuery) -> None:
    """Raise PlacementInvalid for classes and traits that don't exist. Standard ones need no look at the database."""
    classes = {name for group in query.groups.values() for name in group.resources} - _CLASSES
    if classes:
        unknown = classes.difference(await req.read(list_resource_classes))
        if unknown:
            raise PlacementInvalid(
                f"Invalid resource class in resources parameter: No such resource class {min(unknown)}.", BAD_VALUE
            )
    words = [*query.root_required, *(w for group in query.groups.values() for w in group.required)]
    traits = {name for w in words for name in w.any_of} - STANDARD_TRAITS
    if traits:
        known = await req.read(list_traits, names=traits, prefix="", associated=None)
        if traits.difference(known):
            raise PlacementInvalid(f"No such trait(s): {', '.join(sorted(traits.difference(known)))}.", BAD_VALUE)


def _request_view(req: Request, candidate: Candidate) -> dict[str, Any]:
    if not req.at_least(1, 12):
        return {
            "allocations": [
                {"resource_provider": {"uuid": id_}, "resources": amounts} for id_, amounts in candidate.amounts.items()
            ]
        }
    view: dict[str, Any] = {"allocations": {id_: {"resources": amounts} for id_, amounts in candidate.amounts.items()}}
    if req.at_least(1, 34):
        view["mappings"] = candidate.mappings
    return view


def _summary(req: Request, view: View, asked: Mapping[str, Any]) -> dict[str, Any]:
    every = req.at_least(1, 27)
    summary: dict[str, Any] = {
        "resources": {
            name: {"capacity": inventory.capacity, "used": view.used[name]}
            for name, inventory in view.inventories.items()
            if every or name in asked
        }
    }
    if req.at_least(1, 17):
        summary["traits"] = view.traits
    if req.at_least(1, 29):
        summary["parent_provider_uuid"] = view.provider.parent_id or None
        summary["root_provider_uuid"] = view.provider.root_id
    return summary


@PLACEMENT.route(
    "GET",
    "/allocation_candidates",
    policy="placement:allocation_candidates:list",
    rule=Rule.SERVICE,
    low=Version(1, 10),
    query={
        "resources": STRING,
        "required": STRING,
        "member_of": STRING,
        "in_tree": STRING,
        "group_policy": STRING,
        "limit": INTEGER,
        "root_required": STRING,
        "same_subtree": STRING,
    },
    response=shape({"allocation_requests": array(ANY_OBJECT), "provider_summaries": ANY_OBJECT}),
    summary="List allocation candidates",
)
async def list_allocation_candidates(req: Request) -> Reply:
    query = parse_query(req)
    await _check_names(req, query)
    engine = req.cloud.placement
    await engine.fresh()
    await engine.planted()
    candidates, views = find_candidates(engine, query, req.context.rng.getrandbits(63))
    asked = {name: 0 for group in query.groups.values() for name in group.resources}
    if not query.nested:
        used = {id_ for candidate in candidates for id_ in candidate.amounts}
        views = [view for view in views if view.provider.id in used]
    return fresh_reply(
        req,
        {
            "allocation_requests": [_request_view(req, candidate) for candidate in candidates],
            "provider_summaries": {view.provider.id: _summary(req, view, asked) for view in views},
        },
    )
