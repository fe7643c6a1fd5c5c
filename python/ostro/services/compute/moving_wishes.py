"""What the two hosts of a server that moves are wished. Pure.

========  =============  ==========================================  ==========================================
kind      stage          the host that has it                        the host where it goes
========  =============  ==========================================  ==========================================
live      preparing      the server                                  coming
live      sending        going: landing, abort, force                coming
live      closing        going                                       coming, closed
cold      preparing      going: cold; it is switched off             nothing
cold      sending        going: cold                                 coming: cold, offer; in its new shape
cold      over           going: cold; it is kept, off                the server
cold      reverting      going: cold                                 going: left
========  =============  ==========================================  ==========================================

An evacuation wishes the server of the target alone, once the other host can't have it any more, and a resize on one host of that one: it is off
until it is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ostro.model.wishes import ComingWish, GoingWish, Power, ServerWish
from ostro.store.server_migrations import Kind, ServerMigration, Stage
from ostro.store.servers import Server

WISHED_SHAPE = ("vcpus", "ram_mb", "disk_gb")
"""What a resize changes of the wish."""
TIMEOUT_S_PER_GIB = 800
"""A migration that takes longer than this for each GiB of memory and copied disk doesn't come to an end by itself; the number is Nova's."""


def moving_wishes(migration: ServerMigration, server: Server, wish: ServerWish) -> Iterator[tuple[str, ServerWish]]:
    """Hosts and their wishes; ``wish`` is the server as its row has it."""
    if migration.kind is Kind.EVACUATION:
        if server.host_id == migration.target_host_id:
            yield server.host_id, wish
    elif migration.source_host_id == migration.target_host_id:
        yield server.host_id, _on_one_host(migration, wish)
    elif migration.kind is Kind.LIVE:
        yield migration.source_host_id, _going_live(migration, wish)
        closed = migration.stage is Stage.CLOSING
        coming = ComingWish(migration.uuid, copy=migration.disk_copied, closed=closed)
        yield migration.target_host_id, msgspec.structs.replace(wish, coming=coming)
    else:
        yield from _cold(migration, wish)


def _on_one_host(migration: ServerMigration, wish: ServerWish) -> ServerWish:
    """A server that is resized where it is has to be switched off, to be made anew when it is switched on."""
    return wish if migration.stage is Stage.OVER else msgspec.structs.replace(wish, power=Power.OFF)


def _going_live(migration: ServerMigration, wish: ServerWish) -> ServerWish:
    if migration.stage is Stage.PREPARING:
        return wish
    return msgspec.structs.replace(
        wish,
        going=GoingWish(
            migration.uuid,
            landing=migration.landing,
            copy=migration.disk_copied,
            abort=migration.abort_asked,
            force=migration.force_asked,
            timeout_s=TIMEOUT_S_PER_GIB * gib_moved(migration, wish),
        ),
    )


def gib_moved(migration: ServerMigration, wish: ServerWish) -> int:
    """How much has to be sent, about."""
    return max(1, -(-wish.ram_mb // 1024)) + (wish.disk_gb if migration.disk_copied else 0)


def _cold(migration: ServerMigration, wish: ServerWish) -> Iterator[tuple[str, ServerWish]]:
    kept = GoingWish(migration.uuid, cold=True)
    old = _shaped(wish, migration.old_shape)
    yield migration.source_host_id, msgspec.structs.replace(old, power=Power.OFF, going=kept)
    if migration.stage is Stage.SENDING:
        coming = ComingWish(migration.uuid, cold=True, offer=migration.landing)
        new = _shaped(wish, migration.new_shape)
        yield migration.target_host_id, msgspec.structs.replace(new, power=Power.OFF, coming=coming)
    elif migration.stage is Stage.OVER:
        yield migration.target_host_id, wish
    elif migration.stage is Stage.REVERTING:
        left = GoingWish(migration.uuid, left=True, heir=migration.source_host)
        yield migration.target_host_id, msgspec.structs.replace(wish, power=Power.OFF, going=left)


def _shaped(wish: ServerWish, shape: dict[str, object]) -> ServerWish:
    return msgspec.structs.replace(wish, **{name: shape[name] for name in WISHED_SHAPE if name in shape})
