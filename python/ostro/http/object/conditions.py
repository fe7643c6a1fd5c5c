"""Conditional requests (RFC 9110, section 13) on objects."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from ostro.http.object.headers import last_modified_us
from ostro.http.request import Request
from ostro.model.errors import Invalid
from ostro.services.object.errors import FailedPrecondition
from ostro.services.object.objects import Check
from ostro.store.objects import StoredObject

NOT_MODIFIED = 304
FAILED = 412


def _tags(text: str) -> set[str]:
    """The entity tags of a header, without quotes."""
    return {tag.strip().removeprefix("W/").strip('"') for tag in text.split(",") if tag.strip()}


def _matches(text: str, etag: str) -> bool:
    tags = _tags(text)
    return "*" in tags or etag in tags


def _seconds(text: str | None) -> int | None:
    """Seconds since the epoch of a date header; None for one that can't be read, which is ignored."""
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError:
        return None


def judge_read(req: Request, etag: str, stored: StoredObject) -> int:
    """The status that a GET or HEAD comes to by its conditions: 304, 412, or 0 to go on."""
    modified_s = last_modified_us(stored.created_at_us) // 1_000_000
    headers = req.headers
    if "If-Match" in headers:
        if not _matches(headers["If-Match"], etag):
            return FAILED
    elif (since_s := _seconds(headers.get("If-Unmodified-Since"))) is not None and modified_s > since_s:
        return FAILED
    if "If-None-Match" in headers:
        return NOT_MODIFIED if _matches(headers["If-None-Match"], etag) else 0
    if (since_s := _seconds(headers.get("If-Modified-Since"))) is not None and modified_s <= since_s:
        return NOT_MODIFIED
    return 0


def wants_range(req: Request, etag: str, stored: StoredObject) -> bool:
    """Whether a Range header holds: without If-Range it does, else only while the object is the one that the client knows."""
    text = req.headers.get("If-Range")
    if not text:
        return True
    at_s = _seconds(text)
    if at_s is not None and not text.startswith('"'):
        return last_modified_us(stored.created_at_us) // 1_000_000 <= at_s
    return _matches(text, etag)


def check_write(req: Request) -> Check | None:
    """What a PUT's or DELETE's conditions ask of the object as it is, None when it has none. Raises Invalid."""
    if_match, if_none_match = req.headers.get("If-Match"), req.headers.get("If-None-Match")
    if if_none_match is not None and "*" not in _tags(if_none_match):
        raise Invalid("If-None-Match only supports *")
    unmodified_s = _seconds(req.headers.get("If-Unmodified-Since"))
    if if_match is None and if_none_match is None and unmodified_s is None:
        return None

    def check(old: StoredObject | None) -> None:
        if if_none_match is not None and old is not None:
            raise FailedPrecondition()
        if if_match is not None and (old is None or not _matches(if_match, old.etag)):
            raise FailedPrecondition()
        if unmodified_s is not None and old is not None:
            modified_s = last_modified_us(old.created_at_us) // 1_000_000
            if modified_s > unmodified_s:
                raise FailedPrecondition()

    return check
