"""Compute's quotas: unified limits under Nova's old names, and what counts against them.

A server counts from the transaction that makes it until its row is gone or a tombstone, whatever its state, by the flavor that its row has, and
while it is being resized by the larger of its two shapes; its disk is the root disk that it claims. Keypairs count for their user, members for their group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ostro.model.context import Context
from ostro.model.errors import Forbidden, Invalid, QuotaExceeded
from ostro.model.quotas import (
    DEFAULTS,
    DISK_GB,
    KEY_PAIRS,
    MEMORY_MB,
    METADATA_ITEMS,
    SERVER_GROUP_MEMBERS,
    SERVER_GROUPS,
    SERVERS,
    UNLIMITED,
    VCPU,
    Over,
)
from ostro.services.quotas import (
    check_project,
    find_over,
    foresee_limits,
    get_class_limits,
    get_default_limits,
    get_limits,
    reset_limits,
    set_class_limits,
    set_limits,
)
from ostro.store.database import Tx
from ostro.store.keypairs import KEYPAIRS
from ostro.store.limits import Scope, of_project
from ostro.store.server_groups import count_server_groups
from ostro.store.servers import count_group_members, foresee_servers_sum, sum_servers

SERVICE = "compute"
NAMES: Mapping[str, str] = {
    "instances": SERVERS,
    "cores": VCPU,
    "ram": MEMORY_MB,
    "metadata_items": METADATA_ITEMS,
    "injected_files": "server_injected_files",
    "injected_file_content_bytes": "server_injected_file_content_bytes",
    "injected_file_path_bytes": "server_injected_file_path_bytes",
    "key_pairs": KEY_PAIRS,
    "server_groups": SERVER_GROUPS,
    "server_group_members": SERVER_GROUP_MEMBERS,
}
"""Names in quota sets -> names of limits."""
_SAID = {SERVERS: "instances", VCPU: "cores", MEMORY_MB: "ram", DISK_GB: "disk"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project has now."""

    instances: int
    cores: int
    ram: int
    server_groups: int
    key_pairs: int


def _count_servers(tx: Tx, scope: Scope) -> dict[str, int]:
    return dict(zip((SERVERS, VCPU, MEMORY_MB, DISK_GB), sum_servers(tx, scope), strict=True))


def _count_groups(tx: Tx, scope: Scope) -> dict[str, int]:
    return {SERVER_GROUPS: count_server_groups(tx, scope)}


def check_servers(tx: Tx, context: Context, each: Mapping[str, int], least: int, most: int) -> int:
    """How many servers of ``each`` size the project may have more: ``most``, or as many as fit if that is at least ``least``.

    One statement counts, one more where a domain bounds its projects. Raises QuotaExceeded in Nova's words.
    """
    asked = {SERVERS: 1, **each}
    count, over = most, _over_servers(tx, context, asked, most)
    if over:
        count = min(max(item.limit - item.used, 0) // asked[item.name] for item in over)
        if count < max(least, 1):
            raise exceeded(over)
        # The rest of the limits may leave room for fewer still.
        if _over_servers(tx, context, asked, count):
            raise exceeded(over)
    return count


def foresee_servers_quota(tx: Tx, context: Context) -> None:
    """``check_servers`` will be called (``Tx.foresee``)."""
    foresee_limits(tx, context, SERVICE, context.project_id)
    foresee_servers_sum(tx, of_project(context.project_id))


def check_growth(tx: Tx, context: Context, project_id: str, more: Mapping[str, int]) -> None:
    """Raise QuotaExceeded unless a project's server may grow by so much (``VCPU``, ``MEMORY_MB``, ``DISK_GB``), as by a resize."""
    over = find_over(tx, context, SERVICE, project_id, more, _count_servers)
    if over:
        raise exceeded(over)


def _over_servers(tx: Tx, context: Context, asked: Mapping[str, int], count: int) -> list[Over]:
    wanted = {name: amount * count for name, amount in asked.items()}
    return find_over(tx, context, SERVICE, context.project_id, wanted, _count_servers)


def exceeded(over: list[Over]) -> QuotaExceeded:
    """The error of passed limits."""
    over = sorted(over, key=lambda item: _SAID[item.name])
    names = ", ".join(_SAID[item.name] for item in over)
    asked, used, limits = (
        ", ".join(str(getattr(item, field)) for item in over) for field in ("asked", "used", "limit")
    )
    return QuotaExceeded(f"Quota exceeded for {names}: Requested {asked}, but already used {used} of {limits} {names}")


def check_items(tx: Tx, context: Context, items: Mapping[str, str]) -> None:
    """Raise Forbidden for more metadata items than a server may have."""
    if not items:
        return
    # Even where nothing is registered there is a bound: the guest gets all of it in one page.
    most = get_limits(tx, context, SERVICE, context.project_id).get(METADATA_ITEMS, DEFAULTS[SERVICE][METADATA_ITEMS])
    if 0 <= most < len(items):
        raise Forbidden(f"Maximum number of metadata items exceeds {most}")


def check_keypairs(tx: Tx, context: Context, user_id: str) -> None:
    """Raise QuotaExceeded unless the user may have one more keypair."""
    most = get_limits(tx, context, SERVICE, context.project_id).get(KEY_PAIRS, UNLIMITED)
    if 0 <= most <= KEYPAIRS.count(tx, user_id=user_id):
        raise QuotaExceeded("Quota exceeded, too many key pairs.")


def check_server_groups(tx: Tx, context: Context) -> None:
    """Raise QuotaExceeded unless the project may have one more group."""
    if find_over(tx, context, SERVICE, context.project_id, {SERVER_GROUPS: 1}, _count_groups):
        raise QuotaExceeded("Quota exceeded, too many server groups.")


def check_members(tx: Tx, context: Context, group_id: str, more: int) -> None:
    """Raise QuotaExceeded unless so many more servers may be in the group."""
    if not group_id:
        return
    most = get_limits(tx, context, SERVICE, context.project_id).get(SERVER_GROUP_MEMBERS, UNLIMITED)
    if 0 <= most < count_group_members(tx, group_id) + more:
        raise QuotaExceeded("Quota exceeded, too many servers in group")


# ---- quota sets ------------------------------------------------------------------------------------------------------


def _named(limits: Mapping[str, int]) -> dict[str, int]:
    return {name: limits.get(resource, UNLIMITED) for name, resource in NAMES.items()}


def get_quotas(tx: Tx, context: Context, project_id: str) -> dict[str, int]:
    """A project's limits by Nova's names. Raises Invalid for a project that isn't there."""
    check_project(tx, project_id)
    return _named(get_limits(tx, context, SERVICE, project_id))


def get_default_quotas(tx: Tx, context: Context) -> dict[str, int]:
    """The limits of projects that have none of their own."""
    return _named(get_default_limits(tx, context, SERVICE))


def get_usage(tx: Tx, context: Context, project_id: str) -> Usage:
    """What the project has now; keypairs are the actor's."""
    instances, cores, ram, _disk = sum_servers(tx, of_project(project_id))
    groups = count_server_groups(tx, of_project(project_id))
    return Usage(instances, cores, ram, groups, KEYPAIRS.count(tx, user_id=context.user_id))


def get_quotas_and_usage(tx: Tx, context: Context, project_id: str) -> tuple[dict[str, int], Usage]:
    """Both, of one moment. Raises Invalid for a project that isn't there."""
    return get_quotas(tx, context, project_id), get_usage(tx, context, project_id)


def update_quotas(
    tx: Tx, context: Context, project_id: str, wanted: Mapping[str, int], *, force: bool
) -> dict[str, int]:
    """Give a project limits of its own. Raises Invalid, without ``force`` also for less than there is already."""
    check_project(tx, project_id)
    usage = get_usage(tx, context, project_id)
    used = {name: getattr(usage, name) for name in ("instances", "cores", "ram", "server_groups")}
    for name, number in sorted(wanted.items()):
        if not force and 0 <= number < used.get(name, 0):
            raise Invalid(
                f"Quota limit {number} for {name} must be greater than or equal to already used and reserved {used[name]}."
            )
    set_limits(tx, context, SERVICE, project_id, {NAMES[name]: number for name, number in wanted.items()})
    return get_quotas(tx, context, project_id)


def reset_quotas(tx: Tx, context: Context, project_id: str) -> None:
    """Take a project's own limits away. Raises Invalid for a project that isn't there."""
    check_project(tx, project_id)
    reset_limits(tx, context, SERVICE, project_id)


def get_class_quotas(tx: Tx, context: Context, class_name: str) -> dict[str, int]:
    """The numbers of a class."""
    return _named(get_class_limits(tx, context, SERVICE, class_name))


def update_class_quotas(tx: Tx, context: Context, class_name: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """Change the numbers of a class: those of ``default`` hold for every project without its own."""
    numbers = {NAMES[name]: number for name, number in wanted.items()}
    return _named(set_class_limits(tx, context, SERVICE, class_name, numbers))
