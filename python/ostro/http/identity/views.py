"""What Identity's lists, links and name filters have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostro.http.paging import cut, link_to, parse_page
from ostro.http.request import Request
from ostro.http.schema import BOOLEAN, STRING, array, nullable, shape
from ostro.model.errors import Invalid, TooLarge
from ostro.model.times import parse_iso
from ostro.store.paging import Filter, Op, Page, Sort, Where, escape_like

EXTRA_MOST_BYTES = 16_384
LINKS = shape({"self": STRING}, ("self",))
LIST_LINKS = shape({"self": STRING, "next": nullable(STRING), "previous": nullable(STRING)})
ID = {"type": "string", "minLength": 1, "maxLength": 64}
NAME_64 = {"type": "string", "minLength": 1, "maxLength": 64}
NAME_255 = {"type": "string", "minLength": 1, "maxLength": 255}
DESCRIPTION = nullable({"type": "string", "maxLength": 65_535})
OPTIONS = {"type": "object", "maxProperties": 32, "properties": {"immutable": nullable(BOOLEAN)}}
COMPARISONS = ("contains", "startswith", "endswith", "icontains", "istartswith", "iendswith", "iexact")


def name_query(name: str) -> dict[str, Mapping[str, Any]]:
    """The query parameters of a field that may be asked for inexactly."""
    return {name: STRING, **{f"{name}__{how}": STRING for how in COMPARISONS}}


NAME_QUERY = name_query("name")
PAGE_QUERY = {"limit": STRING, "marker": STRING}


def self_link(req: Request, collection: str, id_: str) -> dict[str, str]:
    """``links`` of one object."""
    return {"self": req.url(f"/identity/v3/{collection}/{id_}")}


def list_shape(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a list's answer."""
    return shape({name: array(item), "links": LIST_LINKS})


def list_body(req: Request, name: str, items: Sequence[Any], next_url: str | None = None) -> dict[str, Any]:
    """A list's answer."""
    query = req.raw.query_string.decode(errors="replace")
    return {
        name: list(items),
        "links": {"self": req.url(req.path) + (f"?{query}" if query else ""), "next": next_url, "previous": None},
    }


def page_body(req: Request, name: str, rows: list[Any], page: Page, views: Sequence[Any]) -> dict[str, Any]:
    """A page's answer; ``views`` are of ``cut``'s rows."""
    shown, more = cut(rows, page)
    return list_body(req, name, views, link_to(req, shown[-1].id) if more and shown else None)


def page_of(req: Request, *filters: Filter | Where, sort: str = "name") -> Page:
    """The page that the query asks for, by name unless something else is said."""
    return parse_page(req, sort_keys={}, default_sort=(Sort(sort),), filters=filters)


def name_filters(req: Request, table: str, column: str = "name") -> list[Filter | Where]:
    """``name`` and its inexact forms."""
    out: list[Filter | Where] = []
    if column in req.query:
        out.append(Filter(column, req.query[column]))
    for how in COMPARISONS:
        text = req.query.get(f"{column}__{how}")
        if text is None:
            continue
        insensitive = how.startswith("i")
        kind = how.removeprefix("i")
        pattern = escape_like(text)
        pattern = pattern if kind in ("startswith", "exact") else "%" + pattern
        pattern = pattern if kind in ("endswith", "exact") else pattern + "%"
        if insensitive:
            out.append(Where(f"lower({table}.{column}) LIKE ? ESCAPE '\\'", (pattern.lower(),)))
        else:
            out.append(Filter(column, pattern, Op.LIKE))
    return out


def shown_name_filters(req: Request, table: str) -> list[Filter | Where]:
    """As ``name_filters``, by the name that is shown, of users or groups: theirs need not be the column's."""
    out: list[Filter | Where] = []
    shown = f"CASE WHEN {table}.shown_name = '' THEN {table}.name ELSE {table}.shown_name END"
    for found in name_filters(req, table):
        if isinstance(found, Where):
            out.append(Where(found.sql.replace(f"{table}.name", shown), found.params))
        elif found.op is Op.LIKE:
            out.append(Where(f"{shown} LIKE ? ESCAPE '\\'", (found.value,)))
        else:
            sql = f"({table}.name = ? AND {table}.shown_name = '') OR {table}.shown_name = ?"
            out.append(Where(sql, (found.value, found.value)))
    return out


def enabled_filter(req: Request) -> list[Filter | Where]:
    """``enabled``; without a value it means true, and only 0 and false mean false."""
    if "enabled" not in req.query:
        return []
    return [Filter("enabled", req.query["enabled"].lower() not in ("0", "false"))]


def split_extra(body: Mapping[str, Any], known: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(fields that Identity knows, the others). Identity keeps whatever else it is given; here within a bound."""
    given = {key: value for key, value in body.items() if key in known}
    extra = {key: value for key, value in body.items() if key not in known and key not in ("id", "links")}
    if len(msgspec.json.encode(extra)) > EXTRA_MOST_BYTES:
        raise TooLarge(f"Fields of your own may have {EXTRA_MOST_BYTES} bytes together.")
    return given, extra


def check_id(body: Mapping[str, Any], id_: str) -> None:
    """Raise Invalid when the body names another object than the path."""
    if body.get("id", id_) != id_:
        raise Invalid("Cannot change the ID.")


def reference(given: Mapping[str, Any]) -> dict[str, Any]:
    """A body's schema: these fields and, as upstream has it, any others."""
    return {"type": "object", "properties": dict(given)}


def parse_time(name: str, text: str | None) -> int:
    """A time of a body in microseconds; 0 when it isn't given. Raises Invalid."""
    if not text:
        return 0
    try:
        return parse_iso(text)
    except ValueError as error:
        raise Invalid(f"Invalid input for field '{name}': {text} is not a time in the form of ISO 8601.") from error
