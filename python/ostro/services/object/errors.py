"""Errors of the object service that have statuses of their own there. An empty message means the standard page."""

from __future__ import annotations

from ostro.model.errors import Conflict, Invalid, NotFound, OstroError, TooLarge


class Unprocessable(Invalid):
    """The body is not what its headers say."""

    status = 422

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class NoLength(Invalid):
    """The body's length was not said before."""

    status = 411

    def __init__(self) -> None:
        super().__init__("")


class FailedPrecondition(OstroError):
    """A condition of the request does not hold."""

    status = 412

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class Full(OstroError):
    """The disk has no room for the object."""

    status = 507

    def __init__(self, detail: str) -> None:
        super().__init__("", detail=detail)


class TooSlow(OstroError):
    """The client took too long to send the body."""

    status = 408

    def __init__(self) -> None:
        super().__init__("")


class NotEmpty(Conflict):
    """A container that has objects can't be removed."""

    def __init__(self) -> None:
        super().__init__("")


class Missing(NotFound):
    """No such account, container or object, for whoever asks."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(noun, name)


class BodyTooLarge(TooLarge):
    """An object has a largest size."""

    def __init__(self) -> None:
        super().__init__("")
