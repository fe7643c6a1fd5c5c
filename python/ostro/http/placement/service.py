"""Placement's service, and what its routes share."""

from __future__ import annotations

import re
from typing import Any

from ostro.http.faults import placement_shape
from ostro.http.request import Reply, Request
from ostro.http.route import Service
from ostro.http.schema import INTEGER
from ostro.http.versions import Version, VersionRange
from ostro.model.ids import is_uuid
from ostro.model.times import http_date
from ostro.services.placement.errors import BAD_VALUE, DUPLICATE_KEY, PlacementInvalid
from ostro.store.providers import Words

VERSIONS = VersionRange(Version(1, 0), Version(1, 39), ("placement",))
ROOT = "/placement"
PLACEMENT = Service("placement", (ROOT,), placement_shape, versions=VERSIONS, title="Placement API", projects_only=True)

GENERATION = INTEGER
CLASS_NAME = {"type": "string", "pattern": "^[A-Z0-9_]+$", "maxLength": 255}
CUSTOM_NAME = {"type": "string", "pattern": "^CUSTOM_[A-Z0-9_]+$", "maxLength": 255}
TRAIT_NAME = {"type": "string", "pattern": "^[A-Z0-9_]+$", "minLength": 1, "maxLength": 255}
UUID = {"type": "string", "pattern": "^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"}
AMOUNTS = {
    "type": "object",
    "minProperties": 1,
    "patternProperties": {"^[A-Z0-9_]+$": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}},
    "additionalProperties": False,
}
_RESOURCE = re.compile(r"([A-Z0-9_]+):([0-9]+)")


def fresh_reply(req: Request, body: Any, *, at_us: int | None = None, status: int = 0) -> Reply:
    """An answer with the headers that 1.15 brought: when it last changed, and that it must not be kept."""
    reply = Reply(body, status)
    if req.at_least(1, 15):
        changed_us = req.context.now_us if at_us is None else at_us
        reply.headers.extend([("Last-Modified", http_date(changed_us)), ("Cache-Control", "no-cache")])
    return reply


def check_query(req: Request, *allowed: str, pattern: str = "") -> None:
    """Raise PlacementInvalid for a query parameter that this version doesn't have."""
    for name in req.query:
        if name not in allowed and not (pattern and re.fullmatch(pattern, name)):
            raise PlacementInvalid(
                f"Invalid query string parameters: Additional properties are not allowed ('{name}' was unexpected)"
            )


def single(req: Request, name: str) -> str | None:
    """A query parameter that may be given once."""
    values = req.query.getlist(name)
    if len(values) > 1:
        raise PlacementInvalid(f"Duplicate values for query parameter {name}.", DUPLICATE_KEY)
    return values[0] if values else None


def parse_uuid(name: str, value: str) -> str:
    """A UUID in its usual form. Raises PlacementInvalid."""
    text = value.lower()
    if len(text) == 32:
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    if not is_uuid(text):
        raise PlacementInvalid(
            f"Invalid query string parameters: Expected '{name}' parameter to be a uuid, got {value!r}.", BAD_VALUE
        )
    return text


def parse_resources(text: str) -> dict[str, int]:
    """``VCPU:1,MEMORY_MB:512``. Raises PlacementInvalid."""
    out: dict[str, int] = {}
    for part in text.split(","):
        found = _RESOURCE.fullmatch(part)
        if found is None or not int(found[2]):
            raise PlacementInvalid(
                "Badly formed resources parameter. Expected resources query string parameter in form: "
                f"?resources=VCPU:2,MEMORY_MB:1024. Got: {text}.",
                BAD_VALUE,
            )
        if found[1] in out:
            raise PlacementInvalid(f"Duplicate resource class in resources parameter: {found[1]}", BAD_VALUE)
        out[found[1]] = int(found[2])
    return out


def parse_required(req: Request, name: str, values: list[str]) -> list[Words]:
    """``required`` parameters: ``A,B`` and (1.22) ``!C``, and (1.39) ``in:A,B``; before 1.39 the last one counts."""
    if not req.at_least(1, 39):
        values = values[-1:]
    out: list[Words] = []
    for value in values:
        if value.startswith("in:") and req.at_least(1, 39):
            words = [Words(tuple(value[3:].split(",")))]
        else:
            negating = req.at_least(1, 22)
            parts = value.split(",")
            words = [Words((p.removeprefix("!") if negating else p,), negating and p.startswith("!")) for p in parts]
        if any(not re.fullmatch("[A-Z0-9_]+", word) for w in words for word in w.any_of):
            raise PlacementInvalid(
                f"Invalid query string parameters: Expected '{name}' parameter value of the form: "
                f"HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {value!r}",
                BAD_VALUE,
            )
        out += words
    needed = {w.any_of[0] for w in out if len(w.any_of) == 1 and not w.negated}
    banned = {w.any_of[0] for w in out if w.negated}
    if needed & banned:
        raise PlacementInvalid(
            "Conflicting required and forbidden traits found in the following traits keys: "
            f"{name}: ({', '.join(sorted(needed & banned))})",
            BAD_VALUE,
        )
    return out


def parse_member_of(req: Request, name: str, values: list[str]) -> list[Words]:
    """``member_of`` parameters: one aggregate, ``in:`` several, and (1.32) either with ``!``; (1.24) each of many must hold."""
    if len(values) > 1 and not req.at_least(1, 24):
        raise PlacementInvalid("Multiple member_of parameters are not supported", DUPLICATE_KEY)
    out = []
    for value in values:
        negated = value.startswith("!")
        if negated and not req.at_least(1, 32):
            raise PlacementInvalid(
                f"Forbidden member_of parameters are not supported in the specified microversion: {value}", BAD_VALUE
            )
        text = value.removeprefix("!")
        listed = text.startswith("in:")
        ids = text[3:].split(",") if listed else [text]
        if not listed and "," in text:
            raise PlacementInvalid(
                "Multiple values for 'member_of' must be prefixed with the 'in:' keyword.", BAD_VALUE
            )
        out.append(Words(tuple(parse_uuid(name, id_) for id_ in ids), negated))
    return out
