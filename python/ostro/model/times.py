"""Time as whole microseconds since the epoch, UTC, and its forms in the APIs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SECOND_US = 1_000_000


def to_datetime(at_us: int) -> datetime:
    """Exact, unlike ``fromtimestamp`` of a float."""
    return _EPOCH + timedelta(microseconds=at_us)


def iso_z(at_us: int) -> str:
    """``2026-01-31T12:00:00Z``: Compute, Image and Network."""
    # isoformat, because strftime costs four times as much and lists have two of these a row.
    return (_EPOCH + timedelta(seconds=at_us // SECOND_US)).isoformat()[:19] + "Z"


def iso_micro(at_us: int) -> str:
    """``2026-01-31T12:00:00.000000``: Block Storage and Compute's actions, without a zone."""
    return to_datetime(at_us).isoformat(timespec="microseconds")[:26]


def iso_micro_z(at_us: int) -> str:
    """``2026-01-31T12:00:00.000000Z``: Identity."""
    return iso_micro(at_us) + "Z"


def http_date(at_us: int) -> str:
    """RFC 9110 date, for ``Last-Modified``."""
    return to_datetime(at_us).strftime("%a, %d %b %Y %H:%M:%S GMT")


def parse_iso(text: str) -> int:
    """Microseconds of an ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1)
