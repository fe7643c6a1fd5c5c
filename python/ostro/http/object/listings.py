"""Listings as plain text, JSON and XML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from xml.sax.saxutils import escape, quoteattr

import orjson

from ostro.http.object.headers import PLAIN
from ostro.http.request import Reply, Request
from ostro.http.route import Headers
from ostro.http.schema import STRING
from ostro.model.numbers import DIGITS_MOST
from ostro.services.object.errors import FailedPrecondition
from ostro.services.object.limits import LISTING_MOST
from ostro.services.object.listings import Query

T = TypeVar("T")
JSON = "application/json; charset=utf-8"
XML = "application/xml; charset=utf-8"
_FORMATS = {"plain": PLAIN, "json": JSON, "xml": XML}
LIST_QUERY = dict.fromkeys(
    ("limit", "marker", "end_marker", "prefix", "delimiter", "path", "reverse", "format"), STRING
)
View = Callable[[T], dict[str, Any]]


def read_query(req: Request, *, paths: bool) -> Query:
    """What a listing shall show. Raises FailedPrecondition for a limit that is too large."""
    text = req.query.get("limit", "")
    limit = int(text[: DIGITS_MOST + 1]) if text.isascii() and text.isdigit() else LISTING_MOST
    if limit > LISTING_MOST:
        raise FailedPrecondition(f"Maximum limit is {LISTING_MOST}")
    path = req.query.get("path") if paths else None
    return Query(
        limit=limit,
        marker=req.query.get("marker", "").encode(),
        end_marker=req.query.get("end_marker", "").encode(),
        prefix=req.query.get("prefix", "").encode(),
        delimiter=req.query.get("delimiter", "").encode(),
        reverse=req.query.get("reverse", "").lower() in ("true", "1", "yes", "on", "t", "y"),
        path=None if path is None else path.encode(),
    )


def choose_format(req: Request) -> str:
    """The content type of a listing: by ``format``, else by what the client accepts."""
    asked = req.query.get("format", "")
    if asked:
        return _FORMATS.get(asked.lower(), PLAIN)
    accepted = req.headers.get("Accept", "")
    if "application/json" in accepted:
        return JSON
    if "xml" in accepted:
        return XML
    return PLAIN


def listing_reply(
    req: Request,
    entries: Sequence[T | bytes],
    name_of: Callable[[T], bytes],
    view: View[T],
    *,
    root: str,
    tag: str,
    title: bytes,
    headers: Headers,
) -> Reply:
    """A page of names in the format that the client wants."""
    content_type = choose_format(req)
    if content_type == JSON:
        body = orjson.dumps([_json_entry(entry, view) for entry in entries])
    elif content_type == XML:
        body = _xml(entries, view, root=root, tag=tag, title=title)
    elif not entries:
        return Reply(status=204, headers=[*headers, ("Content-Type", content_type)])
    else:
        body = b"".join((e if isinstance(e, bytes) else name_of(e)) + b"\n" for e in entries)
    return Reply(body, status=200, headers=headers, content_type=content_type)


def _json_entry(entry: T | bytes, view: View[T]) -> dict[str, Any]:
    return {"subdir": entry.decode()} if isinstance(entry, bytes) else view(entry)


def _xml(entries: Sequence[T | bytes], view: View[T], *, root: str, tag: str, title: bytes) -> bytes:
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", f"<{root} name={quoteattr(title.decode())}>"]
    for entry in entries:
        if isinstance(entry, bytes):
            name = entry.decode()
            lines.append(f"<subdir name={quoteattr(name)}><name>{escape(name)}</name></subdir>")
        else:
            fields = "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in view(entry).items())
            lines.append(f"<{tag}>{fields}</{tag}>")
    lines.append(f"</{root}>")
    return "\n".join(lines).encode()
