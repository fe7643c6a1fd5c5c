"""Changing what a server is called and how it is described."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.services.compute.servers import change_wish
from ostro.services.compute.visibility import get_server
from ostro.store.database import Tx
from ostro.store.servers import Server


class ServerUpdate(msgspec.Struct, frozen=True):
    """What to change; None leaves it as it is. ``describe`` says that ``description``, which may be None, is meant."""

    name: str | None = None
    hostname: str | None = None
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    disk_config: str | None = None
    describe: bool = False
    description: str | None = None


def update_server(tx: Tx, context: Context, server_id: str, change: ServerUpdate) -> Server:
    """Change a server, also one that is locked, as upstream does; the server as it is now."""
    server = get_server(tx, context, server_id)
    names = ("name", "hostname", "access_ipv4", "access_ipv6", "disk_config")
    changes: dict[str, Any] = {n: value for n in names if (value := getattr(change, n)) is not None}
    if change.describe:
        changes["description"] = change.description
    return change_wish(tx, server, context.now_us, **changes) if changes else server
