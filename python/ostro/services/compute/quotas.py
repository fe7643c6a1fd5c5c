"""What a project uses, against limits that this cloud doesn't have: sizes are bounded, numbers aren't."""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.context import Context
from ostro.services.compute.metadata import ITEMS_MOST
from ostro.store.database import Tx
from ostro.store.keypairs import KEYPAIRS
from ostro.store.server_groups import SERVER_GROUPS
from ostro.store.servers import sum_project

UNLIMITED = -1
LIMITS = {
    "instances": UNLIMITED,
    "cores": UNLIMITED,
    "ram": UNLIMITED,
    "metadata_items": ITEMS_MOST,
    "key_pairs": UNLIMITED,
    "server_groups": UNLIMITED,
    "server_group_members": UNLIMITED,
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project has now."""

    instances: int
    cores: int
    ram: int
    server_groups: int
    key_pairs: int


def get_usage(tx: Tx, context: Context, project_id: str) -> Usage:
    """What the project has now; keypairs are the actor's."""
    instances, cores, ram = sum_project(tx, project_id)
    return Usage(
        instances,
        cores,
        ram,
        SERVER_GROUPS.count(tx, project_id=project_id),
        KEYPAIRS.count(tx, user_id=context.user_id),
    )
