"""Headers in and out: metadata, times, and what is stored with an object."""

from __future__ import annotations

import mimetypes

from ostro.http.request import Request
from ostro.http.route import Headers
from ostro.model.errors import Invalid
from ostro.model.times import http_date
from ostro.services.object.limits import (
    HEADER_MOST_BYTES,
    META_MOST,
    META_NAME_MOST_BYTES,
    META_OVERALL_MOST_BYTES,
    META_VALUE_MOST_BYTES,
)
from ostro.services.object.objects import Details
from ostro.store.objects import BodyKind, StoredObject

STORED = (
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Cache-Control",
    "Expires",
    "X-Robots-Tag",
    "X-Object-Manifest",
)
"""Headers that are given back with an object as they came."""
TEXT = "text/html; charset=UTF-8"
PLAIN = "text/plain; charset=utf-8"
SECOND_US = 1_000_000


def decode(value: str) -> str:
    """A header's value as UTF-8; the frame hands it over as Latin-1. Raises Invalid."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError as error:
        raise Invalid("Metadata must be valid UTF-8") from error


def read_metadata(req: Request, kind: str) -> dict[str, str]:
    """``X-<kind>-Meta-*`` headers within their bounds; removed ones (``X-Remove-...``) have no value. Raises Invalid."""
    prefix, remove = f"X-{kind}-Meta-", f"X-Remove-{kind}-Meta-"
    found: dict[str, str] = {}
    for name, value in req.headers.items():
        title = name.title()
        if title.startswith(remove):
            found.setdefault(prefix + title[len(remove) :], "")
        elif title.startswith(prefix):
            found[title] = decode(value)
    _check_metadata(found, len(prefix))
    return found


def _check_metadata(found: dict[str, str], skip: int) -> None:
    overall = 0
    for title, value in found.items():
        name, size = title[skip:], len(value.encode())
        if not name:
            raise Invalid("Metadata name cannot be empty")
        if len(name) > META_NAME_MOST_BYTES:
            raise Invalid(f"Metadata name too long: {title}")
        if size > META_VALUE_MOST_BYTES:
            raise Invalid(f"Metadata value longer than {META_VALUE_MOST_BYTES}: {title}")
        overall += len(name) + size
    if len(found) > META_MOST:
        raise Invalid(f"Too many metadata items; max {META_MOST}")
    if overall > META_OVERALL_MOST_BYTES:
        raise Invalid(f"Total metadata too large; max {META_OVERALL_MOST_BYTES}")


def read_details(req: Request, *, guess: bool) -> Details:
    """What is stored beside an object's bytes. Raises Invalid."""
    headers = {name: value for name, value in read_metadata(req, "Object").items() if value}
    for name in STORED:
        value = req.headers.get(name)
        if value:
            if len(value) > HEADER_MOST_BYTES:
                raise Invalid(f"Header value too long: {name}")
            headers[name] = decode(value)
    manifest = headers.get("X-Object-Manifest")
    if manifest is not None and not all(manifest.lstrip("/").partition("/")[::2]):
        raise Invalid("X-Object-Manifest must be in the format container/prefix")
    return Details(_content_type(req, guess=guess), headers, read_delete_at(req))


def _content_type(req: Request, *, guess: bool) -> str:
    given = req.headers.get("Content-Type", "")
    if not guess:
        return given
    if given and req.headers.get("X-Detect-Content-Type", "").lower() not in ("true", "1", "yes", "on", "t", "y"):
        return given
    return mimetypes.guess_type(req.params["object"])[0] or "application/octet-stream"


def read_delete_at(req: Request) -> int:
    """When the object's time is over, 0 for never. Raises Invalid."""
    now_s = req.context.now_us // SECOND_US
    for name, base in (("X-Delete-After", now_s), ("X-Delete-At", 0)):
        text = req.headers.get(name)
        if not text:
            continue
        try:
            at_s = base + int(text)
        except ValueError as error:
            raise Invalid(f"Non-integer {name}") from error
        if at_s <= now_s:
            raise Invalid(f"{name} in past")
        return at_s
    return 0


def timestamp(at_us: int) -> str:
    """Seconds with five digits, as Swift has them."""
    return f"{at_us // SECOND_US:010d}.{at_us % SECOND_US // 10:05d}"


def last_modified_us(at_us: int) -> int:
    """HTTP has whole seconds: the next one, so that nothing seems older than it is."""
    return -(-at_us // SECOND_US) * SECOND_US


def shown_etag(stored: StoredObject) -> str:
    """A large object's ETag is quoted, because it isn't the MD5 of its bytes."""
    return f'"{stored.etag}"' if stored.kind is BodyKind.STATIC else stored.etag


def object_headers(stored: StoredObject) -> Headers:
    """What a GET or HEAD says of an object, besides its length and ETag."""
    headers: Headers = [
        ("Last-Modified", http_date(last_modified_us(stored.created_at_us))),
        ("X-Timestamp", timestamp(stored.created_at_us)),
        ("Accept-Ranges", "bytes"),
        *stored.headers.items(),
    ]
    if stored.delete_at_s:
        headers.append(("X-Delete-At", str(stored.delete_at_s)))
    if stored.kind is BodyKind.STATIC:
        headers.append(("X-Static-Large-Object", "True"))
    return headers
