"""Errors as answers. The only place that knows status codes, and each service's own shape of an error."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from ostro.http.versions import Version, VersionNotAcceptable
from ostro.model import errors

JSON = "application/json"
HTML = "text/html; charset=UTF-8"


class MethodNotAllowed(errors.OstroError):
    """The path exists, the method on it does not."""


class RangeNotSatisfiable(errors.OstroError):
    """The byte range lies outside the object."""


class PreconditionFailed(errors.OstroError):
    """A condition header of the request does not hold."""


class LengthRequired(errors.OstroError):
    """The body's length must be said before."""


class UnsupportedMediaType(errors.OstroError):
    """The body is of a type that the operation does not take."""


STATUS: tuple[tuple[type[errors.OstroError], int], ...] = (
    (VersionNotAcceptable, 406),
    (MethodNotAllowed, 405),
    (RangeNotSatisfiable, 416),
    (PreconditionFailed, 412),
    (LengthRequired, 411),
    (UnsupportedMediaType, 415),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.QuotaExceeded, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.TooLarge, 413),
    (errors.TooManyRequests, 429),
    (errors.Invalid, 400),
    (errors.NoCapacity, 409),
    (errors.Unsupported, 501),
    (errors.Full, 507),
    (errors.Unavailable, 503),
)

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}

INTERNAL = "An unexpected error prevented the server from fulfilling your request."


@dataclass(frozen=True)
class Fault:
    """One error, ready to be shaped."""

    status: int
    title: str
    message: str
    kind: str
    """A CamelCase name of what went wrong, as Network has it: ``PortNotFound``."""
    code: str
    """Placement's error code."""
    request_id: str
    version: Version | None = None
    """What was negotiated, if it got so far."""
    retry_after_s: int | None = None
    """When trying again may help."""
    bounds: tuple[Version, Version] | None = None
    """The versions that there are, when another was asked for."""


FaultShape = Callable[[Fault], tuple[bytes, str]]
"""(body, content type) of an error."""


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for what nobody foresaw."""
    chosen = getattr(error, "status", None)
    if isinstance(error, errors.OstroError) and isinstance(chosen, int):
        return chosen
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status
    return 500


def make_fault(error: BaseException, request_id: str, version: Version | None = None) -> Fault:
    """The public face of an error. Of one that nobody foresaw, nothing is shown."""
    status = status_of(error)
    message = error.message if isinstance(error, errors.OstroError) and status != 500 else INTERNAL
    kind = getattr(error, "kind", "") or type(error).__name__
    if isinstance(error, errors.NotFound):
        noun = re.sub(r"[^a-zA-Z0-9]+", " ", error.noun).title().replace(" ", "")
        kind = f"{noun}NotFound"
    code = getattr(error, "code", "") or "placement.undefined_code"
    bounds = (error.low, error.high) if isinstance(error, VersionNotAcceptable) else None
    retry_after_s = getattr(error, "retry_after_s", None)
    return Fault(status, TITLES.get(status, "Error"), message, kind, code, request_id, version, retry_after_s, bounds)


def _json(body: Any) -> tuple[bytes, str]:
    return orjson.dumps(body), JSON


def identity_shape(fault: Fault) -> tuple[bytes, str]:
    """Keystone: ``{"error": {...}}``."""
    return _json({"error": {"code": fault.status, "message": fault.message, "title": fault.title}})


_COMPUTE_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def compute_shape(fault: Fault) -> tuple[bytes, str]:
    """Nova and Cinder: one key named by the status."""
    name = _COMPUTE_NAMES.get(fault.status, "computeFault")
    body: dict[str, Any] = {"code": fault.status, "message": fault.message}
    if name == "overLimit" and fault.retry_after_s is not None:
        body["retryAfter"] = str(fault.retry_after_s)
    return _json({name: body})


_NETWORK_KINDS = {
    "Invalid": "HTTPBadRequest",
    "Forbidden": "PolicyNotAuthorized",
    "ResourceNotFound": "HTTPNotFound",
    "MethodNotAllowed": "HTTPMethodNotAllowed",
    "TooLarge": "HTTPRequestEntityTooLarge",
    "TooManyRequests": "HTTPTooManyRequests",
    "UnsupportedMediaType": "HTTPUnsupportedMediaType",
    "Unsupported": "HTTPNotImplemented",
    "Unavailable": "HTTPServiceUnavailable",
}
"""Our names of errors that have no name of their own in Neutron -> the names there."""


def network_shape(fault: Fault) -> tuple[bytes, str]:
    """Neutron: ``{"NeutronError": {type, message, detail}}``; a token is refused by Identity's middleware, in Identity's shape."""
    if fault.status == 401:
        return identity_shape(fault)
    kind = "HTTPInternalServerError" if fault.status == 500 else _NETWORK_KINDS.get(fault.kind, fault.kind)
    return _json({"NeutronError": {"type": kind, "message": fault.message, "detail": ""}})


def placement_shape(fault: Fault) -> tuple[bytes, str]:
    """Placement: the API-WG's errors list, with codes since 1.23."""
    error: dict[str, Any] = {"status": fault.status, "title": fault.title, "detail": fault.message}
    if fault.version is not None and fault.version >= (1, 23):
        error["code"] = fault.code
    error["request_id"] = fault.request_id
    if fault.bounds is not None:
        error["min_version"], error["max_version"] = map(str, fault.bounds)
    return _json({"errors": [error]})


_SWIFT_PAGES = {
    400: "The server could not comply with the request since it is either malformed or otherwise incorrect.",
    401: "This server could not verify that you are authorized to access the document you requested.",
    403: "Access was denied to this resource.",
    404: "The resource could not be found.",
    405: "The method is not allowed for this resource.",
    408: "The server has waited too long for the request to be sent by the client.",
    409: "There was a conflict when trying to complete your request.",
    411: "Content-Length header required.",
    412: "A precondition for this request was not met.",
    413: "The body of your request was too large for this server.",
    416: "The Range requested is not available.",
    422: "Unable to process the contained instructions",
    429: "Slow down.",
    500: "The server has either erred or is incapable of performing the requested operation.",
    501: "The requested method is not implemented by this server.",
    503: "The server is currently unavailable. Please try again at a later time.",
    507: "There was not enough space to save the resource.",
}
_SWIFT_TITLES = {500: "Internal Error"}
_SWIFT_SPEAKING = frozenset((400, 409, 412, 413, 422, 501))
"""Statuses whose own message, if there is one, is told in plain text."""


def swift_page(status: int) -> bytes:
    """Swift's standard page of a status."""
    title = _SWIFT_TITLES.get(status) or TITLES.get(status, "Error")
    return f"<html><h1>{title}</h1><p>{_SWIFT_PAGES.get(status, '')}</p></html>".encode()


def swift_shape(fault: Fault) -> tuple[bytes, str]:
    """Swift: a page of one line, or the message alone."""
    if fault.message and fault.status in _SWIFT_SPEAKING:
        return fault.message.encode(), "text/plain; charset=UTF-8"
    return swift_page(fault.status), HTML


def html_shape(fault: Fault) -> tuple[bytes, str]:
    """Glance and Swift: a small page."""
    title = html.escape(f"{fault.status} {fault.title}")
    message = html.escape(fault.message)
    page = f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n  {message}<br /><br />\n\n\n </body>\n</html>"
    return page.encode(), HTML
