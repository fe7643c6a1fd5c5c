"""Lists of the network service: filters, ``fields``, sort keys and pages as Neutron has them.

Every attribute may be given several times and then means any of the values. An attribute that can't be filtered by is refused
(extension ``filter-validation``). Without ``limit`` the whole list comes, up to ``LIST_MOST``; where there is more, links lead on, and
with ``limit`` they always do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from ostro.http.paging import cut
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING
from ostro.model.errors import Invalid
from ostro.model.numbers import whole_number
from ostro.model.times import parse_iso
from ostro.services.network.errors import NetworkInvalid
from ostro.store.paging import Filter, Op, Page, Sort, Where, escape_like
from ostro.store.table import Table


class Keyed(Protocol):
    """What a list shows: a row, or a view of one."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R", bound=Keyed)

LIST_MOST = 5000
"""Rows in one answer: some 5 MB of ports."""
CONTROLS = ("fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse")
TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
_TRUE = ("true", "1")
_FALSE = ("false", "0")


def refuse(message: str) -> NetworkInvalid:
    """A query that makes no sense."""
    return NetworkInvalid("HTTPBadRequest", message)


def to_bool(text: str) -> bool:
    """A boolean of a query. Raises NetworkInvalid."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise refuse(f"'{text}' cannot be converted to boolean.")


def to_int(text: str) -> int:
    """An integer of a query. Raises NetworkInvalid."""
    try:
        return int(text)
    except ValueError as error:
        raise refuse(f"'{text}' is not an integer.") from error


def to_lower(text: str) -> str:
    """A MAC address of a query."""
    return text.lower()


@dataclass(frozen=True)
class Attribute:
    """A column under its API name. A column that may be NULL can't be sorted by."""

    column: str
    parse: Callable[[str], Any] = str
    sortable: bool = True


Special = Callable[[Sequence[str]], Filter | Where]
"""A filter that is more than a column's value, from all values that the query gives."""


def common() -> dict[str, Attribute]:
    """What every noun has."""
    return {
        "id": Attribute("id"),
        "name": Attribute("name"),
        "description": Attribute("description"),
        "project_id": Attribute("project_id"),
        "tenant_id": Attribute("project_id"),
        "revision_number": Attribute("revision_number", to_int),
    }


@dataclass(frozen=True)
class Listing(Generic[T]):
    """The list of one noun. ``collection`` is its key in answers."""

    collection: str
    table: Table[T]
    attributes: Mapping[str, Attribute]
    specials: Mapping[str, Special] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, Mapping[str, Any]]:
        """The query parameters, for the contract."""
        names = [*self.attributes, *self.specials, *CONTROLS, "changed_since"]
        return dict.fromkeys([*names, *(TAG_FILTERS if "tags" in self.table.columns else ())], STRING)

    def page(self, req: Request) -> Page:
        """The page that the query asks for, one row longer so that ``reply`` sees whether there is more."""
        limit = self._limit(req)
        return Page(
            limit=limit + 1,
            marker=req.query.get("marker", ""),
            sorts=self._sorts(req),
            filters=tuple(self._filters(req)),
            reverse=req.query.get("page_reverse", "").lower() == "true",
        )

    def _limit(self, req: Request) -> int:
        text = req.query.get("limit", "0")
        limit = whole_number(text)
        if limit is None:
            raise NetworkInvalid(
                "BadRequest", f"Bad limit request: Limit must be an integer 0 or greater and not '{text}'."
            )
        return min(limit or LIST_MOST, LIST_MOST)

    def _sorts(self, req: Request) -> tuple[Sort, ...]:
        keys = [k for k in req.query.getlist("sort_key") if k]
        directions = [d for d in req.query.getlist("sort_dir") if d]
        if len(keys) != len(directions):
            raise refuse("The number of sort_keys and sort_dirs must be same")
        sorts = []
        for key, direction in zip(keys, directions, strict=True):
            attribute = self.attributes.get(key)
            if attribute is None or not attribute.sortable:
                raise refuse(f"['{key}'] is invalid attribute for sort_keys")
            if direction not in ("asc", "desc"):
                raise refuse(f"['{direction}'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'")
            sorts.append(Sort(attribute.column, direction == "desc"))
        return tuple(sorts)

    def _filters(self, req: Request) -> list[Filter | Where]:
        out: list[Filter | Where] = []
        unknown = []
        for name in dict.fromkeys(req.query.keys()):
            if name in CONTROLS:
                continue
            values = req.query.getlist(name)
            if name in self.specials:
                out.append(self.specials[name](values))
            elif name in self.attributes:
                attribute = self.attributes[name]
                parsed = [attribute.parse(v) for v in values]
                out.append(
                    Filter(attribute.column, parsed[0]) if len(parsed) == 1 else Filter(attribute.column, parsed, Op.IN)
                )
            elif name in TAG_FILTERS and "tags" in self.table.columns:
                out.append(_tag_filter(self.table.name, name, values))
            elif name == "changed_since":
                out.append(Filter("updated_at_us", _time(values[-1]), Op.GE))
            else:
                unknown.append(name)
        if unknown:
            raise refuse(f"{unknown} is invalid attribute for filtering")
        return out

    def reply(self, req: Request, rows: list[R], page: Page, view: Callable[[R], dict[str, Any]]) -> Reply:
        """The answer: the views of the page's rows, and links where there is or may be more."""
        rows, more = cut(rows, page)
        fields = pick(req)
        body: dict[str, Any] = {self.collection: [fields(view(row)) for row in rows]}
        links = self._links(req, rows, page, more)
        if links:
            body[f"{self.collection}_links"] = links
        return Reply(body)

    def _links(self, req: Request, rows: Sequence[Keyed], page: Page, more: bool) -> list[dict[str, str]]:
        if not rows:
            return []
        links = []
        last, first = rows[-1].id, rows[0].id
        if more if not page.reverse else page.marker:
            links.append({"rel": "next", "href": _link(req, marker=last)})
        if more if page.reverse else page.marker:
            links.append({"rel": "previous", "href": _link(req, marker=first, page_reverse="True")})
        return links


def _link(req: Request, **paging: str) -> str:
    """The URL of this list, elsewhere in it."""
    kept = [(k, v) for k, v in req.query.items(multi=True) if k not in ("marker", "page_reverse")]
    return f"{req.url(req.path)}?{urlencode([*kept, *paging.items()])}"


def pick(req: Request) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What ``fields`` leaves of a view."""
    wanted = {f for f in req.query.getlist("fields") if f}
    if not wanted:
        return lambda view: view
    return lambda view: {name: value for name, value in view.items() if name in wanted}


def _time(text: str) -> int:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise NetworkInvalid(
            "InvalidInput",
            "Invalid input for operation: The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SS[Z].",
        ) from error


def _tag_filter(table: str, name: str, values: Sequence[str]) -> Where:
    """Tags are a JSON list of strings in one column; each is found between its quotes."""
    tags = [tag for value in values for tag in value.split(",")]
    one = f"{table}.tags LIKE ? ESCAPE '\\'"
    params = tuple("%" + escape_like(msgspec.json.encode(tag).decode()) + "%" for tag in tags)
    joined = (" OR " if name.endswith("any") else " AND ").join([one] * len(tags))
    return Where(f"NOT ({joined})" if name.startswith("not") else joined, params)


def need_values(name: str, values: Sequence[str], form: str) -> list[tuple[str, str]]:
    """``key=value`` filters such as those of ``fixed_ips``. Raises Invalid."""
    pairs = []
    for value in values:
        key, found, wanted = value.partition("=")
        if not found:
            raise Invalid(f"Invalid input for {name}. Reason: '{value}' is not of the form {form}.")
        pairs.append((key, wanted))
    return pairs
