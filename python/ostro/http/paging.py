"""Pages of lists: from query parameters to ``store.paging.Page``, and the links back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ostro.http.request import Request
from ostro.model.errors import Invalid
from ostro.store.paging import Filter, Page, Sort, Where

LIMIT_MOST = 1000


def parse_sorts(req: Request, keys: Mapping[str, str], default: Sequence[Sort]) -> tuple[Sort, ...]:
    """``sort=key:dir,key`` (Image, Block Storage) or repeated ``sort_key`` and ``sort_dir`` (Compute, Network).

    ``keys`` maps the API's names to columns.
    """
    pairs: list[tuple[str, str]] = []
    if "sort" in req.query and ("sort_key" in req.query or "sort_dir" in req.query):
        raise Invalid("The parameter sort cannot be used together with sort_key or sort_dir.")
    if "sort" in req.query:
        for item in req.query["sort"].split(","):
            name, _, direction = item.strip().partition(":")
            pairs.append((name, direction or "desc"))
    elif "sort_key" in req.query:
        names, directions = req.query.getlist("sort_key"), req.query.getlist("sort_dir")
        default_direction = "desc" if not directions else directions[-1]
        pairs = [(n, directions[i] if i < len(directions) else default_direction) for i, n in enumerate(names)]
    elif "sort_dir" in req.query:
        descending = _is_descending(req.query["sort_dir"])
        return tuple(Sort(sort.column, descending) for sort in default)
    if not pairs:
        return tuple(default)
    sorts = []
    for name, direction in pairs:
        if name not in keys:
            raise Invalid(f"Invalid sort key: {name}")
        sorts.append(Sort(keys[name], _is_descending(direction)))
    return tuple(sorts)


def _is_descending(direction: str) -> bool:
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid sort direction: {direction}")
    return direction == "desc"


def parse_page(
    req: Request,
    *,
    sort_keys: Mapping[str, str],
    default_sort: Sequence[Sort],
    filters: Sequence[Filter | Where] = (),
    limit_most: int = LIMIT_MOST,
    limit_default: int | None = None,
) -> Page:
    """The page that the query asks for, with one row more than its limit so that ``cut`` can see whether there is a next page."""
    limit = min(req.integer("limit", limit_default or limit_most), limit_most)
    return Page(
        limit=limit + 1,
        marker=req.query.get("marker", ""),
        sorts=parse_sorts(req, sort_keys, default_sort),
        filters=tuple(filters),
        reverse=req.flag("page_reverse") if "page_reverse" in req.query else False,
    )


def cut(rows: list[Any], page: Page) -> tuple[list[Any], bool]:
    """The rows that belong to the page, and whether there are more."""
    if len(rows) < page.limit:
        return rows, False
    return (rows[1:] if page.reverse else rows[: page.limit - 1]), True


def link_to(req: Request, marker: str, **replaced: str) -> str:
    """The URL of this list from ``marker`` on, other parameters as they were."""
    query = [(k, v) for k, v in req.query.items(multi=True) if k != "marker" and k not in replaced]
    query += [*replaced.items(), ("marker", marker)]
    return req.url(req.path) + "?" + urlencode(query)


def next_links(req: Request, rows: Sequence[Any], more: bool, key: str = "id") -> list[dict[str, str]]:
    """``[{"rel": "next", "href": ...}]``, or empty at the end."""
    if not more or not rows:
        return []
    return [{"rel": "next", "href": link_to(req, str(getattr(rows[-1], key)))}]
