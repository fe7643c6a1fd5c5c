"""Who sees and owns what. Another tenant's object is NotFound; a shared network is seen by all and owned by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.network.errors import NetworkForbidden
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS, Network


def owns(context: Context, project_id: str) -> bool:
    """Whether the actor may act for the project."""
    return context.is_admin or context.project_id == project_id


def require_owner(context: Context, project_id: str, rule: str) -> None:
    """Raise NetworkForbidden unless the actor may act for the project."""
    if not owns(context, project_id):
        raise NetworkForbidden(rule)


def may_use_network(context: Context, network: Network) -> bool:
    """Whether the actor sees the network and may put ports on it."""
    return network.shared or owns(context, network.project_id)


def get_visible_network(tx: Tx, context: Context, network_id: str) -> Network:
    """Raises NotFound for a network that the actor may not use."""
    return ask_visible_network(tx, context, network_id)()


def ask_visible_network(tx: Tx, context: Context, network_id: str) -> Callable[[], Network]:
    """``get_visible_network`` for whoever has more to ask. Looking costs nothing the second time."""
    found = NETWORKS.ask(tx, id=network_id)

    @cache
    def look() -> Network:
        network = next(iter(found()), None)
        if network is None or not may_use_network(context, network):
            raise NotFound("network", network_id)
        return network

    return look


def acting_project(context: Context, requested: str | None, rule: str) -> str:
    """The project that a new object is for: the actor's own, or for an admin any that is named."""
    project_id = requested or context.project_id
    require_owner(context, project_id, rule)
    return project_id
