"""What can be watched and waited for: one line a noun, with the states that it settles in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ostro.http.route import Route, Service
from ostro.http.versions import Version
from ostro.model.errors import Bug

View = Mapping[str, Any]


class Kind(StrEnum):
    """What a route is to its noun."""

    LIST = "list"
    SHOW = "show"
    CREATE = "create"


def _settled_server(view: View) -> bool:
    return view["status"] in SERVER_STATES and not view.get("OS-EXT-STS:task_state")


def _settled_port(view: View) -> bool:
    """A port that no device has stays DOWN; so does one that is told to."""
    return view["status"] in PORT_STATES or not (view["device_id"] and view["admin_state_up"])


SERVER_STATES = frozenset(
    (
        "ACTIVE",
        "SHUTOFF",
        "ERROR",
        "PAUSED",
        "SUSPENDED",
        "RESCUED",
        "SHELVED",
        "SHELVED_OFFLOADED",
        "VERIFY_RESIZE",
        "SOFT_DELETED",
    )
)
PORT_STATES = frozenset(("ACTIVE", "ERROR"))
VOLUME_STATES = frozenset(
    (
        "available",
        "in-use",
        "reserved",
        "maintenance",
        "awaiting-transfer",
        "error",
        "error_deleting",
        "error_extending",
        "error_restoring",
        "error_managing",
    )
)
SNAPSHOT_STATES = frozenset(("available", "error", "error_deleting"))
IMAGE_STATES = frozenset(("active", "deactivated"))


@dataclass(frozen=True)
class Noun:
    """``show`` is the path of one object, ``lists`` those of all; the first is where it is created. ``key`` wraps the object in an answer.

    ``lists_all`` whether an administrator's list shows every project's without being asked to.
    """

    name: str
    service: str
    show: str
    lists: tuple[str, ...]
    settled: Callable[[View], bool]
    key: str = ""
    lists_all: bool = False
    after_create: frozenset[str] = field(default_factory=frozenset)
    """States that one who has just created it need not wait in: only they can change it."""

    @property
    def parameter(self) -> str:
        """The name of the id in ``show``."""
        return self.show.rpartition("{")[2].rstrip("}")

    def view_in(self, body: Any) -> dict[str, Any] | None:
        """The object that an answer shows; None when it is none, or several."""
        found = body.get(self.key) if isinstance(body, dict) and self.key else body
        return found if isinstance(found, dict) and "id" in found else None


NOUNS = (
    Noun(
        "server",
        "compute",
        "/v2.1/servers/{server_id}",
        ("/v2.1/servers", "/v2.1/servers/detail"),
        _settled_server,
        key="server",
    ),
    Noun(
        "port",
        "network",
        "/v2.0/ports/{port_id}",
        ("/v2.0/ports",),
        _settled_port,
        key="port",
        lists_all=True,
    ),
    Noun(
        "volume",
        "volume",
        "/volumes/{volume_id}",
        ("/volumes", "/volumes/detail"),
        lambda view: view["status"] in VOLUME_STATES,
        key="volume",
    ),
    Noun(
        "snapshot",
        "volume",
        "/snapshots/{snapshot_id}",
        ("/snapshots", "/snapshots/detail"),
        lambda view: view["status"] in SNAPSHOT_STATES,
        key="snapshot",
    ),
    Noun(
        "image",
        "image",
        "/v2/images/{image_id}",
        ("/v2/images",),
        lambda view: view["status"] in IMAGE_STATES,
        lists_all=True,
        after_create=frozenset(("queued",)),
    ),
)


def find_noun(service: Service, route: Route) -> tuple[Noun, Kind] | None:
    """The noun that a route is of, if it can be watched or waited for."""
    for noun in NOUNS:
        if noun.service != service.name:
            continue
        if route.path == noun.show and route.method == "GET":
            return noun, Kind.SHOW
        if route.path in noun.lists and route.method == "GET":
            return noun, Kind.LIST
        if route.path == noun.lists[0] and route.method == "POST":
            return noun, Kind.CREATE
    return None


def show_route(service: Service, noun: Noun, version: Version | None) -> Route:
    """The route that shows one object at this microversion."""
    for route in service.routes:
        if route.method == "GET" and route.path == noun.show and route.covers(version):
            return route
    raise Bug(f"There is no GET {noun.show}.")
