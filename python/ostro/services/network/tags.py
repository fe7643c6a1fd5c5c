"""Tags of networks, subnets, ports and security groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.network.access import require_owner
from ostro.services.network.changes import change
from ostro.services.network.errors import NetworkInvalid, invalid_input
from ostro.services.network.networks import get_network
from ostro.services.network.port_changes import get_port
from ostro.services.network.security_groups import get_own_group
from ostro.services.network.subnets import get_subnet
from ostro.store.database import Tx
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS
from ostro.store.security_groups import SECURITY_GROUPS
from ostro.store.subnets import SUBNETS
from ostro.store.table import Table

TAG_CHARS_MOST = 255
TAGS_MOST = 50


class Tagged:
    """Something with tags: its row and where that is kept."""

    def __init__(self, tx: Tx, context: Context, collection: str, id_: str) -> None:
        self.table: Table[Any]
        self.row: Any
        match collection:
            case "networks":
                self.table, self.row = NETWORKS, get_network(tx, context, id_).network
            case "subnets":
                self.table, self.row = SUBNETS, get_subnet(tx, context, id_)
            case "ports":
                self.table, self.row = PORTS, get_port(tx, context, id_)
            case "security-groups":
                self.table, self.row = SECURITY_GROUPS, get_own_group(tx, context, id_)
            case _:
                raise NotFound("resource", id_, f"Resource {collection} {id_} could not be found.")

    @property
    def tags(self) -> list[str]:
        tags: list[str] = self.row.tags
        return tags


def list_tags(tx: Tx, context: Context, collection: str, id_: str) -> list[str]:
    """The object's tags, in their order. Raises NotFound."""
    return Tagged(tx, context, collection, id_).tags


def check_tag(tx: Tx, context: Context, collection: str, id_: str, tag: str) -> None:
    """Raise NotFound unless the object has the tag."""
    if tag not in Tagged(tx, context, collection, id_).tags:
        raise _tag_not_found(tag)


def _tag_not_found(tag: str) -> NotFound:
    return NotFound("tag", tag, f"Tag {tag} could not be found.")


def _write(tx: Tx, context: Context, tagged: Tagged, collection: str, tags: Sequence[str]) -> list[str]:
    """Write the whole list."""
    require_owner(context, tagged.row.project_id, f"update_{collection}_tags")
    for tag in tags:
        if not tag or len(tag) > TAG_CHARS_MOST:
            raise invalid_input(f"'{tag}' exceeds maximum length of {TAG_CHARS_MOST}" if tag else "'' is not a tag")
    if len(tags) > TAGS_MOST:
        raise NetworkInvalid(
            "BadRequest", f"Bad {collection} request: The number of tags exceed the per-resource limit of {TAGS_MOST}."
        )
    change(tx, tagged.table, tagged.row, context.now_us, {"tags": list(tags)})
    return list(tags)


def replace_tags(tx: Tx, context: Context, collection: str, id_: str, tags: Sequence[str]) -> list[str]:
    """Make these the object's tags."""
    if len(set(tags)) != len(tags):
        raise invalid_input(f"Duplicate items in the list: '{', '.join(tags)}'")
    return _write(tx, context, Tagged(tx, context, collection, id_), collection, tags)


def add_tags(tx: Tx, context: Context, collection: str, id_: str, tags: Sequence[str]) -> list[str]:
    """Add tags that are not there yet."""
    tagged = Tagged(tx, context, collection, id_)
    return _write(tx, context, tagged, collection, list(dict.fromkeys([*tagged.tags, *tags])))


def remove_tag(tx: Tx, context: Context, collection: str, id_: str, tag: str) -> None:
    """Take one tag away. Raises NotFound."""
    tagged = Tagged(tx, context, collection, id_)
    if tag not in tagged.tags:
        raise _tag_not_found(tag)
    _write(tx, context, tagged, collection, [t for t in tagged.tags if t != tag])


def remove_tags(tx: Tx, context: Context, collection: str, id_: str) -> None:
    """Take all tags away."""
    _write(tx, context, Tagged(tx, context, collection, id_), collection, [])
