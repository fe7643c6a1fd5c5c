"""Routes as data: the contract of each operation stands beside its handler.

A ``Service`` collects routes by decorators. Each declares method, path, policy and rule, success status, the JSON
Schemas of body and answer, query parameters and the microversions it covers; several routes may share method and path with
ranges that don't overlap. ``api/`` is generated from these declarations and requests are validated against them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ostro.http.policy import Rule
from ostro.http.schema import BODY_MOST_BYTES
from ostro.http.versions import Version, VersionRange
from ostro.model.ids import new_uuid
from ostro.runtime.world import World

if TYPE_CHECKING:
    from ostro.http.exchange import Incoming
    from ostro.http.faults import FaultShape
    from ostro.http.request import Request
    from ostro.services.cloud import Cloud

Schema = Mapping[str, Any]
Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``body`` is JSON material, ready bytes, a stream of bytes, or None for no body."""

    body: Any = None
    status: int = 0
    """0 means the route's own status."""
    headers: Headers = field(default_factory=list)
    content_type: str = "application/json"


Handler = Callable[["Request"], Awaitable[Reply]]
Stream = AsyncIterator[bytes]


@dataclass(frozen=True)
class Route:
    """One operation of one service."""

    method: str
    path: str
    handler: Handler
    policy: str
    rule: Rule
    status: int
    summary: str
    body: Schema | None = None
    response: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    low: Version | None = None
    high: Version | None = None
    consumes: tuple[str, ...] = ()
    """Media types that the body may have besides JSON's; it is parsed as JSON all the same."""
    body_most_bytes: int = BODY_MOST_BYTES
    streams: bool = False
    """The handler reads the body itself, as a stream of any length and type."""
    waits: bool = False
    """The handler may wait for something to happen; it is cancelled when the client goes away."""
    actions: Mapping[str, tuple[str, Rule]] = field(default_factory=dict)
    """What a body may ask for, by its key: the policy and rule that the handler minds for it besides the route's."""
    also: Mapping[str, Rule] = field(default_factory=dict)
    """Further policies that decide about parts of it, such as whether hosts are shown."""

    def covers(self, version: Version | None) -> bool:
        """Whether the route is there at this microversion."""
        if version is None:
            return True
        return (self.low is None or self.low <= version) and (self.high is None or version <= self.high)


def new_request_id(world: World) -> str:
    """A request's id as most services form it."""
    return f"req-{new_uuid(world.random)}"


@dataclass
class Service:
    """One API: where it lives, how its errors look, and its routes.

    ``prefixes`` are all the paths it is mounted at; the first is the canonical one and the one in api/.
    """

    name: str
    prefixes: tuple[str, ...]
    faults: FaultShape
    versions: VersionRange | None = None
    title: str = ""
    new_request_id: Callable[[World], str] = new_request_id
    id_headers: tuple[str, ...] = ("x-openstack-request-id",)
    """Headers of every answer that hold the request's id."""
    admit: Callable[[Cloud, Incoming], None] | None = None
    """Called before anything of a body is read; what it raises is the answer."""
    check: Callable[[Request], None] | None = None
    """Called before every handler; what it raises is the answer."""
    project_after: str = ""
    """Below this path, clients of old put their project's id: ``/v2.1/{url_project_id}/servers`` is ``/v2.1/servers``."""
    projects_only: bool = False
    """Whether only tokens of projects are good here, as in every service of upstream but Identity: whoever administers a domain, or the
    system, is nobody here until a role on a project says so."""
    routes: list[Route] = field(default_factory=list)

    def places(self, path: str) -> list[str]:
        """Every full path that a route's path is mounted at."""
        paths = [path]
        root = self.project_after + "/"
        if self.project_after and path.startswith(root):
            paths.append(f"{root}{{url_project_id:project}}/{path.removeprefix(root)}")
        return [prefix + path for prefix in self.prefixes for path in paths]

    def route(
        self,
        method: str,
        path: str,
        *,
        policy: str,
        rule: Rule,
        summary: str,
        status: int = 200,
        body: Schema | None = None,
        response: Schema | None = None,
        query: Mapping[str, Schema] | None = None,
        low: Version | None = None,
        high: Version | None = None,
        consumes: tuple[str, ...] = (),
        body_most_bytes: int = BODY_MOST_BYTES,
        streams: bool = False,
        waits: bool = False,
        actions: Mapping[str, tuple[str, Rule]] | None = None,
        also: Mapping[str, Rule] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare a route for the decorated handler. ``path`` is relative to the prefix, with ``{name}`` or ``{name:path}``."""

        def declare(handler: Handler) -> Handler:
            self.routes.append(
                Route(
                    method=method,
                    path=path,
                    handler=handler,
                    policy=policy,
                    rule=rule,
                    status=status,
                    summary=summary,
                    body=body,
                    response=response,
                    query=dict(query or {}),
                    low=low,
                    high=high,
                    consumes=consumes,
                    body_most_bytes=body_most_bytes,
                    streams=streams,
                    waits=waits,
                    actions=dict(actions or {}),
                    also=dict(also or {}),
                )
            )
            return handler

        return declare
