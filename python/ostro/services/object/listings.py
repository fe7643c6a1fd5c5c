"""Pages of names, in the order of their bytes: prefix, delimiter, marker, end marker, path, and backwards.

With a delimiter, names that go on after it are shown once, as the part up to it ("subdirectory"). Such a part is jumped over by asking
the index for what comes after it, so a page costs as many questions as it has subdirectories, however many names they hold.

Everything works on half-open ranges ``[low, high)`` of names; the empty ``high`` is no bound. The least name greater than ``x`` is ``x + "\\0"``,
and no name contains the byte 255, because names are UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ostro.services.object.limits import LISTING_MOST

T = TypeVar("T")
READ_AT_ONCE = 64
"""Rows read at once where subdirectories may be jumped over."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a page shall show. Empty means no bound."""

    limit: int = LISTING_MOST
    marker: bytes = b""
    end_marker: bytes = b""
    prefix: bytes = b""
    delimiter: bytes = b""
    reverse: bool = False
    path: bytes | None = None
    """Only what lies directly in this path, without subdirectories."""


@dataclass(frozen=True, slots=True)
class Range:
    """Names from ``low`` on, before ``high``."""

    low: bytes
    high: bytes


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A page: rows, and subdirectories as bytes, in order."""

    entries: list[T | bytes]


Read = Callable[[Range, int], list[T]]
"""``read(range, limit)``: rows in the page's direction."""


def after_all(prefix: bytes) -> bytes:
    """The least name that is greater than every name with this prefix."""
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else b""


def _range(query: Query) -> Range:
    """The names that the page may show."""
    first, last = (query.end_marker, query.marker) if query.reverse else (query.marker, query.end_marker)
    low = max(first + b"\0" if first else b"", query.prefix)
    high = after_all(query.prefix)
    if last and (not high or last < high):
        high = last
    return Range(low, high)


def _after(query: Query, rest: Range, name: bytes) -> Range:
    """What is left of ``rest`` after ``name`` was shown."""
    return Range(rest.low, name) if query.reverse else Range(name + b"\0", rest.high)


def _past(query: Query, rest: Range, subdir: bytes) -> Range:
    """What is left of ``rest`` after everything in ``subdir``."""
    return Range(rest.low, subdir) if query.reverse else Range(after_all(subdir), rest.high)


def list_entries(query: Query, read: Read[T], name_of: Callable[[T], bytes]) -> Listing[T]:
    """One page."""
    if query.path is not None:
        path = query.path.rstrip(b"/")
        query = replace(query, prefix=path + b"/" if path else b"", delimiter=b"/")
    rest = _range(query)
    if not query.delimiter:
        rows = read(rest, query.limit) if query.limit and _is_open(rest) else []
        return Listing(list(rows))
    entries: list[T | bytes] = []
    while len(entries) < query.limit and _is_open(rest):
        rows = read(rest, READ_AT_ONCE)
        if not rows:
            break
        rest = _take(rows, query, rest, name_of, entries)
    return Listing(entries)


def _is_open(rest: Range) -> bool:
    return not rest.high or rest.low < rest.high


def _take(rows: list[T], query: Query, rest: Range, name_of: Callable[[T], bytes], entries: list[T | bytes]) -> Range:
    """Add rows to the page up to a subdirectory, all of them, or the page's end; what is left then."""
    for row in rows:
        if len(entries) >= query.limit:
            break
        name = name_of(row)
        end = name.find(query.delimiter, len(query.prefix))
        subdir = name[: end + len(query.delimiter)] if end >= 0 else b""
        if query.path is not None:
            # The path itself is no part of what lies in it; an object that ends in a slash is.
            if subdir and len(name) > len(subdir):
                return _past(query, rest, subdir)
            if name != query.prefix:
                entries.append(row)
        elif subdir:
            if subdir != query.marker:
                entries.append(subdir)
            return _past(query, rest, subdir)
        else:
            entries.append(row)
        rest = _after(query, rest, name)
    return rest
