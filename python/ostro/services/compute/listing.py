"""Lists of servers, and what a server shows beside its own row, read for a whole page at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from typing import NamedTuple

from ostro.model.context import Context
from ostro.model.errors import Forbidden
from ostro.services.agents.hosts import LEASE_S
from ostro.services.compute.visibility import find_server
from ostro.services.network.binding import PortView, ask_server_ports
from ostro.store.block_devices import BlockDevice, ask_block_devices
from ostro.store.database import Tx
from ostro.store.hosts import ask_alive
from ostro.store.paging import Filter, Page, Where, list_page
from ostro.store.security_groups import map_groups
from ostro.store.servers import SERVERS, Server, ask_user_data

SCAN_MOST = 20_000
"""Rows looked at for one page that is matched row by row."""
Matcher = tuple[str, Callable[[str], bool]]
"""(column, whether its value is wanted)."""


@dataclass(frozen=True, slots=True)
class ServerQuery:
    """A list of servers. ``matchers`` are what no condition in SQL can say."""

    page: Page
    every_project: bool = False
    project_id: str = ""
    deleted: bool | None = False
    """Living ones, deleted ones, or (None) both."""
    matchers: Sequence[Matcher] = ()
    policy: str = "os_compute_api:servers:index:get_all_tenants"
    """Who may see every project's."""


@dataclass(frozen=True, slots=True)
class Details:
    """What servers show beside their rows."""

    ports: Mapping[str, Sequence[PortView]] = field(default_factory=dict)
    group_names: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Sequence[BlockDevice]] = field(default_factory=dict)
    user_data: Mapping[str, str] = field(default_factory=dict)
    hosts_up: frozenset[str] = frozenset()


def list_servers(tx: Tx, context: Context, query: ServerQuery) -> list[Server]:
    """A page of servers. Raises Forbidden when the actor asks for more than its own project, or for deleted ones."""
    page = query.page
    if query.every_project and not context.may_also(query.policy):
        raise Forbidden(f"Policy doesn't allow {query.policy} to be performed.")
    if query.deleted and not context.is_admin:
        raise Forbidden("Only administrators may list deleted instances")
    if query.deleted is not None:
        page = page.with_filters(Where("servers.deleted_at_us > 0") if query.deleted else Filter("deleted_at_us", 0))
    if query.project_id:
        page = page.with_filters(Filter("project_id", query.project_id))
    elif not query.every_project:
        page = page.with_filters(Filter("project_id", context.project_id))
    if not query.matchers:
        return list_page(tx, SERVERS, page)
    return _scan(tx, page, query.matchers)


def _scan(tx: Tx, page: Page, matchers: Sequence[Matcher]) -> list[Server]:
    """The rows of a page that match, reading on until there are enough."""
    found: list[Server] = []
    seen = 0
    step = max(page.limit, 200)
    marker = page.marker
    while len(found) < page.limit and seen < SCAN_MOST:
        rows = list_page(tx, SERVERS, replaced(page, limit=step, marker=marker))
        found += [row for row in rows if all(matches(getattr(row, column)) for column, matches in matchers)]
        seen += len(rows)
        if len(rows) < step:
            break
        marker = rows[-1].id
    return found[: page.limit]


def list_with_details(tx: Tx, context: Context, query: ServerQuery, *, user_data: bool) -> tuple[list[Server], Details]:
    """A page of servers and everything that they show."""
    servers = list_servers(tx, context, query)
    return servers, load_details(tx, context, servers, user_data=user_data)


def get_with_details(tx: Tx, context: Context, server_id: str, *, user_data: bool) -> tuple[Server, Details]:
    """One server and everything that it shows. Raises NotFound."""
    asked = _ask(tx, [server_id], user_data)
    server = find_server(tx, context, server_id)
    return server, _load(tx, context, [server], asked)


def load_details(tx: Tx, context: Context, servers: Sequence[Server], *, user_data: bool) -> Details:
    """What these servers show beside their rows; a handful of statements whatever their number."""
    if not servers:
        return Details()
    return _load(tx, context, servers, _ask(tx, [server.id for server in servers], user_data))


class _Asked(NamedTuple):
    """What is known by servers' ids alone, once it is looked at."""

    ports: Callable[[], dict[str, list[PortView]]]
    devices: Callable[[], dict[str, list[BlockDevice]]]
    user_data: Callable[[], dict[str, str]]


def _ask(tx: Tx, ids: Sequence[str], user_data: bool) -> _Asked:
    texts = ask_user_data(tx, ids) if user_data else dict
    return _Asked(ask_server_ports(tx, ids), ask_block_devices(tx, ids), texts)


def _load(tx: Tx, context: Context, servers: Sequence[Server], asked: _Asked) -> Details:
    hosts = {server.host_id for server in servers if server.host_id} if context.is_admin else set()
    alive = ask_alive(tx, sorted(hosts), context.now_us - int(LEASE_S * 1e6))
    ports = asked.ports()
    group_ids = {group for views in ports.values() for view in views for group in view.security_groups}
    return Details(
        ports=ports,
        group_names={id_: group.name for id_, group in map_groups(tx, sorted(group_ids)).items()},
        devices=asked.devices(),
        user_data=asked.user_data(),
        hosts_up=frozenset(alive()),
    )
