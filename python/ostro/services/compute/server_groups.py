"""Server groups: servers that must share a host, or must not. Enforced when a server is placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import Invalid, NotFound
from ostro.services.compute.quotas import check_server_groups
from ostro.services.placement.engine import HostRequest
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.server_groups import SERVER_GROUPS, ServerGroup
from ostro.store.servers import list_group_members

POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")


def create_server_group(tx: Tx, context: Context, name: str, policy: str, rules: dict[str, Any]) -> ServerGroup:
    """Make a group. Raises QuotaExceeded."""
    check_server_groups(tx, context)
    group = ServerGroup(
        id=context.new_id(),
        project_id=context.project_id,
        user_id=context.user_id,
        name=name,
        policy=policy,
        rules=rules,
        created_at_us=context.now_us,
    )
    return SERVER_GROUPS.insert(tx, group)


def get_server_group(tx: Tx, context: Context, group_id: str) -> tuple[ServerGroup, list[str]]:
    """A group and the ids of its servers. Raises NotFound."""
    group = SERVER_GROUPS.find(tx, id=group_id)
    if group is None or not (context.is_admin or group.project_id == context.project_id):
        raise NotFound("instance group", group_id, f"Instance group {group_id} could not be found.")
    return group, [server_id for _, server_id, _ in list_group_members(tx, [group_id])]


def list_server_groups(
    tx: Tx, context: Context, page: Page, *, every_project: bool
) -> tuple[list[ServerGroup], dict[str, list[str]]]:
    """A page of groups, and the servers of each."""
    if not (every_project and context.is_admin):
        page = page.with_filters(Filter("project_id", context.project_id))
    groups = list_page(tx, SERVER_GROUPS, page)
    members: dict[str, list[str]] = {group.id: [] for group in groups}
    for group_id, server_id, _ in list_group_members(tx, list(members)):
        members[group_id].append(server_id)
    return groups, members


def delete_server_group(tx: Tx, context: Context, group_id: str) -> None:
    """Remove a group; its servers stay as they are."""
    get_server_group(tx, context, group_id)
    SERVER_GROUPS.delete(tx, group_id)


def group_requests(tx: Tx, context: Context, group_id: str, request: HostRequest) -> Sequence[HostRequest]:
    """The requests to try, in order, so that the group's policy holds: one for a hard policy, two for a soft one.

    Raises Invalid when there is no such group.
    """
    if not group_id:
        return [request]
    group = SERVER_GROUPS.find(tx, id=group_id, project_id=context.project_id)
    if group is None:
        raise Invalid(f"Instance group {group_id} could not be found.")
    hosts = Counter(host_id for _, _, host_id in list_group_members(tx, [group_id]) if host_id)
    if not hosts:
        return [request]
    if group.policy.endswith("anti-affinity"):
        most = int(group.rules.get("max_server_per_host", 1))
        full = [host_id for host_id, count in hosts.items() if count >= most]
        narrowed = replace(request, not_hosts=[*request.not_hosts, *full])
    else:
        allowed = set(hosts) if request.only_hosts is None else set(hosts).intersection(request.only_hosts)
        narrowed = replace(request, only_hosts=sorted(allowed))
    return [narrowed, request] if group.policy.startswith("soft-") else [narrowed]
