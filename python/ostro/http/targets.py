"""Operators' rules outside of Identity that look at the object: whose it is.

What ships looks only at roles there, and services answer NotFound for what is another project's. A rule of the operator's may say more, such as
``user_id:%(user_id)s`` for who made a server. Then the object's row is read before the handler runs. The target is upstream's: ``project_id`` (also
``tenant_id`` and ``owner``), ``user_id`` where the object has one, an image's ``visibility``; for what has no object, a list or a create, the caller's own.
An attribute that the target doesn't have matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ostro.http.policy import Rule, enforce
from ostro.http.request import Request
from ostro.model.context import Actor
from ostro.model.errors import Forbidden, NotFound
from ostro.model.policy import Target
from ostro.store.attachments import ATTACHMENTS
from ostro.store.database import Tx
from ostro.store.images import IMAGES
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS
from ostro.store.security_group_rules import SECURITY_GROUP_RULES
from ostro.store.security_groups import SECURITY_GROUPS
from ostro.store.server_groups import SERVER_GROUPS
from ostro.store.servers import SERVERS
from ostro.store.snapshots import SNAPSHOTS
from ostro.store.subnets import SUBNETS
from ostro.store.table import Table
from ostro.store.volumes import VOLUMES

TABLES: dict[str, Table[Any]] = {
    "attachments": ATTACHMENTS,
    "images": IMAGES,
    "networks": NETWORKS,
    "os-server-groups": SERVER_GROUPS,
    "ports": PORTS,
    "security-group-rules": SECURITY_GROUP_RULES,
    "security-groups": SECURITY_GROUPS,
    "servers": SERVERS,
    "snapshots": SNAPSHOTS,
    "subnets": SUBNETS,
    "volumes": VOLUMES,
}
"""A path's collection -> the rows of its objects."""
QUOTAS = frozenset(("os-quota-sets", "quotas"))
"""Collections whose objects are named by a project's id."""
JUDGED_BY_SERVICE = (Rule.POLICY, Rule.TARGET, Rule.PUBLIC)
_PLACE = re.compile(r"([^/]+)/\{(\w+)\}")


async def authorize(request: Request, policy: str, rule: Rule) -> None:
    """Raise Forbidden unless the policy lets the caller do this to what the path names; NotFound where that is another project's."""
    policies, actor = request.cloud.policies, request.context.actor
    enforce(policies, policy, rule, actor)
    if rule in JUDGED_BY_SERVICE or policy not in policies or policies.judge(policy, actor, None) is not None:
        return
    found = _PLACE.search(request.route.path)
    collection, id_ = (found[1], request.params.get(found[2], "")) if found else ("", "")
    target = await request.read(find_target, collection, id_)
    if target is None or policies.allows(policy, actor, target):
        return  # What isn't there is for the handler to say.
    if target["project_id"] != actor.project_id:
        raise NotFound("resource", id_, "The resource could not be found.")
    raise Forbidden(f"Policy doesn't allow {policy} to be performed.")


async def may(request: Request, policy: str, rule: Rule) -> bool:
    """Whether ``authorize`` lets the caller pass."""
    try:
        await authorize(request, policy, rule)
    except (Forbidden, NotFound):
        return False
    return True


def find_target(tx: Tx, context: Any, collection: str, id_: str) -> Target | None:
    """What rules may know of an object; None when there is none."""
    actor: Actor = context.actor
    if collection in QUOTAS:
        return _owned(id_, actor.user_id)
    table = TABLES.get(collection)
    if table is None:
        return _owned(actor.project_id, actor.user_id)
    row = table.find(tx, id=id_)
    if row is None:
        return None
    project_id = row.owner_id if table is IMAGES else row.project_id
    more = {"visibility": row.visibility.value} if table is IMAGES else {}
    return {**_owned(project_id, getattr(row, "user_id", None)), **more}


def _owned(project_id: str, user_id: str | None) -> Mapping[str, object]:
    target = {"project_id": project_id, "tenant_id": project_id, "owner": project_id}
    return target if user_id is None else {**target, "user_id": user_id}
