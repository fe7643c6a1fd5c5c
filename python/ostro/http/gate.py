"""All the services behind one door: from a request's path to the endpoint that answers it.

Paths are taken literally: doubled slashes are not merged and trailing ones are ignored, except in the object store, where they are part
of names, and in Image and Block Storage, where they stand before an empty id.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ostro.http.catalog import SERVICES
from ostro.http.dispatch import Endpoint, error_answer
from ostro.http.docs import make_docs
from ostro.http.exchange import Incoming, Outgoing
from ostro.http.reference import declare_policies
from ostro.http.route import Service
from ostro.http.router import Router
from ostro.http.shedding import Shedder
from ostro.model.errors import NotFound
from ostro.model.ids import new_uuid
from ostro.services.cloud import Cloud

log = structlog.get_logger()

OBJECT_PREFIX = "/object-store/v1/"
OBJECT_SLASHES = 6
"""A path of the object store with so many is an object's; with fewer, the last one ends an account or container."""
STRICT_PREFIXES = ("/image/v2/", "/volume/v3/")
"""What ends with a slash below these is the place of an empty id, so there is nothing."""

Found = tuple[Endpoint, dict[str, str]]


class Gate:
    """The API of a cloud. ``check_replies`` holds every answer against its schema: for tests."""

    def __init__(self, cloud: Cloud, services: Sequence[Service] = SERVICES, *, check_replies: bool = False) -> None:
        self.world = cloud.world
        self._cloud = cloud
        self._services = (*services, make_docs(services))
        self._router: Router[Endpoint] = Router()
        self.shedder = Shedder(cloud.shedding, cloud.db.room)
        self.shedder.watch(cloud.world.metrics)
        declare_policies(cloud.policies, self._services)
        for name in cloud.policies.unknown():
            log.warning("policy.yaml names no policy of ours", policy=name)
        for service in self._services:
            self._mount(service, check_replies)

    def _mount(self, service: Service, check_replies: bool) -> None:
        endpoints: dict[str, Endpoint] = {}
        for route in service.routes:
            if route.path not in endpoints:
                endpoints[route.path] = Endpoint(
                    self._cloud, service, route.path, self.shedder, check_replies=check_replies
                )
            endpoints[route.path].add(route)
        for path, endpoint in endpoints.items():
            for place in service.places(path):
                self._router.add(place or "/", endpoint)

    def find(self, path: str) -> Found | None:
        """What answers a path (decoded), with its parameters."""
        return self._router.find(trim(path))

    async def answer(self, raw: Incoming, found: Found | None) -> Outgoing:
        """Answer a request with what `find` found for its path."""
        if found is not None:
            endpoint, params = found
            return await endpoint.handle(raw, params)
        missing = NotFound("resource", raw.path, "The resource could not be found.")
        request_id = f"req-{new_uuid(self._cloud.world.random)}"
        return error_answer(self._cloud, owner_of(raw.path, self._services), missing, request_id, raw)


def trim(path: str) -> str:
    """``/servers/`` is ``/servers`` where upstream thinks so, but an object's name may end with a slash."""
    if len(path) < 2 or not path.endswith("/"):
        return path
    if path.startswith(OBJECT_PREFIX):
        return path[:-1] if path.count("/") < OBJECT_SLASHES else path
    if path.startswith(STRICT_PREFIXES) and path not in STRICT_PREFIXES:
        return path
    return path.rstrip("/") or "/"


def owner_of(path: str, services: Sequence[Service]) -> Service | None:
    """The service whose prefix the path is under."""
    for service in services:
        root = "/" + service.prefixes[0].lstrip("/").partition("/")[0]
        if path == root or path.startswith(root + "/"):
            return service
    return None
