"""What a list of images can be narrowed and sorted by."""

from __future__ import annotations

import csv

from ostro.http.request import Request
from ostro.model.errors import Invalid
from ostro.model.times import parse_iso
from ostro.store.images import property_term, tag_term
from ostro.store.paging import Filter, Op, Where

DEFAULT_LIMIT = 25
FILTERS_MOST = 64

SORT_KEYS = {
    "id": "id",
    "name": "name",
    "status": "status",
    "size": "size_bytes",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "created_at": "created_at_us",
    "updated_at": "updated_at_us",
}
TEXTS = {
    "id": "id",
    "name": "name",
    "status": "status",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "owner": "owner_id",
    "checksum": "checksum",
    "os_hash_value": "sha512",
}
INTEGERS = {"min_disk": "min_disk_gb", "min_ram": "min_ram_mb", "size": "size_bytes"}
FLAGS = {"protected": "protected", "os_hidden": "hidden"}
TIMES = {"created_at": "created_at_us", "updated_at": "updated_at_us"}
COMPARISONS = {"eq": Op.EQ, "neq": Op.NE, "gt": Op.GT, "gte": Op.GE, "lt": Op.LT, "lte": Op.LE}
NOT_FILTERS = frozenset(("limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status"))


def _in_list(text: str) -> list[str]:
    """The values of ``in:a,b,"c,d"``."""
    return next(csv.reader([text.removeprefix("in:")], strict=True), [])


def _time_filter(name: str, text: str) -> Filter:
    """``gte:2026-01-01T00:00:00Z``; without an operator it is equality."""
    operator, colon, rest = text.partition(":")
    if operator not in COMPARISONS or not colon:
        operator, rest = "eq", text
    try:
        return Filter(TIMES[name], parse_iso(rest), COMPARISONS[operator])
    except ValueError as error:
        raise Invalid(f"Invalid time value {rest} for {name}") from error


def _one(req: Request, name: str, text: str) -> Filter | Where:
    if name in TEXTS:
        if text.startswith("in:"):
            return Filter(TEXTS[name], _in_list(text), Op.IN)
        return Filter(TEXTS[name], text)
    if name in INTEGERS:
        return Filter(INTEGERS[name], req.integer(name, 0, high=2**62))
    if name == "size_min":
        return Filter("size_bytes", req.integer(name, 0, high=2**62), Op.GE)
    if name == "size_max":
        return Where("size_bytes BETWEEN 0 AND ?", (req.integer(name, 0, high=2**62),))
    if name in FLAGS:
        return Filter(FLAGS[name], req.flag(name))
    if name in TIMES:
        return _time_filter(name, text)
    term = tag_term(text) if name == "tag" else property_term(name, text)
    return Where("EXISTS (SELECT 1 FROM image_terms t WHERE t.term = ? AND t.image_id = images.id)", (term,))


def parse_filters(req: Request) -> list[Filter | Where]:
    """Every filter of the query. Hidden images are left out unless they are asked for. Raises Invalid."""
    pairs = [(name, text) for name, text in req.query.items(multi=True) if name not in NOT_FILTERS]
    if len(pairs) > FILTERS_MOST:
        raise Invalid(f"A list takes at most {FILTERS_MOST} filters.")
    filters = [_one(req, name, text) for name, text in pairs]
    if "os_hidden" not in req.query:
        filters.append(Filter("hidden", False))
    return filters
