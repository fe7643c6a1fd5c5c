"""What a list of volumes can be narrowed and sorted by."""

from __future__ import annotations

import ast

from ostro.http.request import Request
from ostro.http.schema import STRING
from ostro.model.errors import Invalid
from ostro.model.times import parse_iso
from ostro.store.paging import Filter, Op, Where, escape_like
from ostro.store.volumes import VOLUMES

SORT_KEYS = {
    "id": "id",
    "name": "name",
    "display_name": "name",
    "size": "size_gb",
    "status": "status",
    "created_at": "created_at_us",
    "updated_at": "updated_at_us",
    "bootable": "bootable",
    "availability_zone": "availability_zone",
}
TEXTS = {
    "name": "name",
    "display_name": "name",
    "status": "status",
    "id": "id",
    "availability_zone": "availability_zone",
    "user_id": "user_id",
    "description": "description",
}
ADMIN_TEXTS = {"project_id": "project_id", "tenant_id": "project_id", "host_id": "host_id"}
TIMES = {"created_at": "created_at_us", "updated_at": "updated_at_us"}
COMPARISONS = {"eq": Op.EQ, "neq": Op.NE, "gt": Op.GT, "gte": Op.GE, "lt": Op.LT, "lte": Op.LE}
LIST_QUERY = dict.fromkeys(
    (
        "limit",
        "marker",
        "offset",
        "sort",
        "sort_key",
        "sort_dir",
        "all_tenants",
        "with_count",
        "metadata",
        "bootable",
        *TEXTS,
        *ADMIN_TEXTS,
        *TIMES,
    ),
    STRING,
)


def _metadata(text: str) -> list[Filter | Where]:
    """``metadata={'key': 'value'}``: upstream's clients send Python's form of it."""
    try:
        wanted = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise Invalid(f"Invalid filter metadata: {text[:255]}") from error
    if not isinstance(wanted, dict) or not all(isinstance(x, str) for pair in wanted.items() for x in pair):
        raise Invalid(f"Invalid filter metadata: {text[:255]}")
    return [Where("volumes.metadata LIKE ? ESCAPE '\\'", (_entry_pattern(*pair),)) for pair in wanted.items()]


def _entry_pattern(key: str, value: str) -> str:
    """Matches a JSON object with this entry, and no other: a quote inside a text is escaped there."""
    entry: str = VOLUMES.value("metadata", {key: value})[1:-1]
    return f"%{escape_like(entry)}%"


def _times(name: str, text: str) -> list[Filter | Where]:
    """``gte:2026-01-01T00:00:00,lt:...``."""
    out: list[Filter | Where] = []
    for part in text.split(","):
        operator, colon, rest = part.partition(":")
        if operator not in COMPARISONS or not colon:
            operator, rest = "eq", part
        try:
            out.append(Filter(TIMES[name], parse_iso(rest), COMPARISONS[operator]))
        except ValueError as error:
            raise Invalid(f"Invalid filter {name}: {rest}") from error
    return out


def parse_filters(req: Request) -> list[Filter | Where]:
    """Every filter of the query that whoever asks may use; upstream ignores others. Raises Invalid."""
    filters: list[Filter | Where] = []
    for name, text in req.query.items(multi=True):
        if name in TEXTS:
            filters.append(Filter(TEXTS[name], text))
        elif name.endswith("~") and name[:-1] in TEXTS and req.at_least(3, 34):
            filters.append(Filter(TEXTS[name[:-1]], f"%{escape_like(text)}%", Op.LIKE))
        elif name in ADMIN_TEXTS and req.context.is_admin:
            filters.append(Filter(ADMIN_TEXTS[name], text))
        elif name == "bootable":
            filters.append(Filter("bootable", req.flag(name)))
        elif name == "metadata":
            filters += _metadata(text)
        elif name in TIMES and req.at_least(3, 60):
            filters += _times(name, text)
    return filters
