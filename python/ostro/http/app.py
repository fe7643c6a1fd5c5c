"""The application: every service's routes on one port, by Quart-Trio.

``make_app`` mounts the services; ``serve`` runs Hypercorn inside the caller's nursery. Paths are taken literally: doubled slashes are
not merged and trailing ones are ignored, except in the object store, where they are part of names, and in Image and Block Storage,
where they stand before an empty id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import quart
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from quart import Response
from quart.routing import QuartRule
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from ostro.http.catalog import SERVICES
from ostro.http.connection import install
from ostro.http.dispatch import Endpoint, error_response
from ostro.http.docs import make_docs
from ostro.http.route import Service
from ostro.model.errors import Bug, NotFound
from ostro.model.ids import new_uuid
from ostro.services.cloud import Cloud

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
OBJECT_PREFIX = "/object-store/v1/"
OBJECT_SLASHES = 6
"""A path of the object store with so many is an object's; with fewer, the last one ends an account or container."""
STRICT_PREFIXES = ("/image/v2/", "/volume/v3/")
"""What ends with a slash below these is the place of an empty id, so there is nothing."""
HEADERS_MOST_BYTES = 65_536
KEEP_ALIVE_S = 75
BACKLOG = 1024


def to_rule(path: str) -> str:
    """``/a/{b}/{c:path}`` in werkzeug's form."""
    return _PARAMETER.sub(lambda m: f"<{m[2]}:{m[1]}>" if m[2] else f"<{m[1]}>", path)


class RestConverter(BaseConverter):
    """``{name:rest}``: everything to the end of the path, slashes at its beginning included."""

    regex = ".+"
    part_isolating = False


class ProjectConverter(BaseConverter):
    """``{name:project}``: what a project's id looks like."""

    regex = "[0-9a-f-]+"


class TrailingSlash:
    """ASGI middleware: ``/servers/`` is ``/servers``, where upstream thinks so."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if len(path) > 1 and path.endswith("/"):
            if not path.startswith(OBJECT_PREFIX):
                if not path.startswith(STRICT_PREFIXES) or path in STRICT_PREFIXES:
                    scope["path"] = path.rstrip("/") or "/"
            elif path.count("/") < OBJECT_SLASHES:
                scope["path"] = path[:-1]
        await self._app(scope, receive, send)


class LeanRule(QuartRule):
    """A routing rule that only matches.

    Werkzeug also compiles, for each rule, a function that builds its URL. We build URLs from our own paths, and with hundreds of
    routes that compilation would be most of the time between start and serving.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _no_building


def _no_building(**_values: object) -> tuple[str, str]:
    raise Bug("URLs are not built from routing rules.")


def make_app(cloud: Cloud, services: Sequence[Service] = SERVICES, *, check_replies: bool = False) -> QuartTrio:
    """The application. ``check_replies`` holds every answer against its schema: for tests."""
    app = QuartTrio("ostro", static_folder=None)
    app.url_rule_class = LeanRule
    install(app)
    app.config["MAX_CONTENT_LENGTH"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.converters["rest"] = RestConverter
    app.url_map.converters["project"] = ProjectConverter
    services = (*services, make_docs(services))
    for service in services:
        mount(app, cloud, service, check_replies=check_replies)

    async def not_found(_error: Exception) -> Response:
        service = owner_of(quart.request.path, services)
        missing = NotFound("resource", quart.request.path, "The resource could not be found.")
        return error_response(cloud, service, missing, f"req-{new_uuid(cloud.world.random)}", quart.request)

    app.register_error_handler(404, not_found)
    app.register_error_handler(405, not_found)
    app.asgi_app = TrailingSlash(app.asgi_app)  # type: ignore[method-assign]
    return app


def mount(app: QuartTrio, cloud: Cloud, service: Service, *, check_replies: bool) -> None:
    """Add a service's routes under each of its prefixes."""
    endpoints: dict[str, Endpoint] = {}
    for route in service.routes:
        if route.path not in endpoints:
            endpoints[route.path] = Endpoint(cloud, service, route.path, check_replies=check_replies)
        endpoints[route.path].add(route)
    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY"]
    for path, endpoint in endpoints.items():
        for place in service.places(path):
            full = to_rule(place) or "/"
            app.add_url_rule(
                full,
                endpoint=f"{service.name}:{full}",
                view_func=endpoint.handle,
                methods=every,
                provide_automatic_options=False,
            )


def owner_of(path: str, services: Sequence[Service]) -> Service | None:
    """The service whose prefix the path is under."""
    for service in services:
        root = "/" + service.prefixes[0].lstrip("/").partition("/")[0]
        if path == root or path.startswith(root + "/"):
            return service
    return None


async def serve(
    app: QuartTrio, binds: Sequence[str], *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled. Starts with the addresses that it listens on."""
    config = Config()
    config.bind = list(binds)
    config.h11_max_incomplete_size = HEADERS_MOST_BYTES
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.backlog = BACKLOG
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    await hypercorn_serve(app, config, mode="asgi", task_status=task_status)
