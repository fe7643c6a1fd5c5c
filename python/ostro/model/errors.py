"""Errors named by what the caller can do about them.

``message`` is public: it goes into the answer of the API. ``detail`` is for the log only. Status codes are not known
here; ``http/faults.py`` maps each class to one.
"""

from __future__ import annotations


class OstroError(Exception):
    """Base of every error that Ostro raises on purpose."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Invalid(OstroError):
    """The request is malformed or breaks a rule that its sender can see. Mend it and send it again."""


class Unauthenticated(OstroError):
    """Who asks is not known: no token, or one that is expired, revoked or foreign."""


class Forbidden(OstroError):
    """Who asks is known and may not do this."""


class NotFound(OstroError):
    """The object does not exist, or does not exist for the one who asks."""

    def __init__(self, noun: str, id_: str, message: str | None = None) -> None:
        super().__init__(message or f"{noun.capitalize()} {id_} could not be found.")
        self.noun = noun
        self.id = id_


class Conflict(OstroError):
    """The object's present state, or another object, stands in the way."""


class QuotaExceeded(OstroError):
    """A limit of the project would be passed."""


class TooLarge(OstroError):
    """A body, header, page or value is over its bound."""


class NoCapacity(OstroError):
    """No host can take the request now; the message says why, host group by host group."""


class Unavailable(OstroError):
    """A part that the request needs does not answer now. Trying again later can help."""

    def __init__(self, message: str, *, retry_after_s: int = 1, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s


class TooManyRequests(OstroError):
    """More is asked than is taken now. Trying again in a while helps."""

    def __init__(self, message: str, *, retry_after_s: int = 1, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s


class Full(Unavailable):
    """What was to be kept has no room where it must go. Reading works; it can be kept once somebody has made room."""


class Unsupported(OstroError):
    """The API knows this operation, this installation does not do it."""


class Bug(OstroError):
    """An invariant of our own is broken."""
