"""What all moves of servers between hosts have in common: the claim, the row, and leaving a host.

While a server moves, its consumer in Placement has what it will use on the target, and the migration's has what it uses on the source. Whatever
comes of it, the migration's consumer ends up with what is used on the host that the server shall not be on, and that host **leaves**: absence is
wished of it, and the saga ``server.leave``, on the migration's own id so that nothing overtakes it, gives back what was held there when
the host has reported that it has nothing any more. A host that is yet to be left takes part in no other move of the server: what it still has
of it must not be taken for something new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NoCapacity
from ostro.model.servers import TaskState
from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import GoingWish, MigrationState, Noun, Power
from ostro.saga.engine import Await, Outcome, Ready, Run, Saga, Waiting, Write, start_saga
from ostro.services.agents.hosts import is_up
from ostro.services.block.attachments import is_shared
from ostro.services.block.wishes import lend_volume, take_back_volume
from ostro.services.compute.servers import make_wish
from ostro.services.image.holds import drop_image, hold_image
from ostro.services.network.binding import expect_nics, stop_expecting_nics, switch_nics
from ostro.services.placement.claims import Owner, claim_host, hand_over_claim, release_claim, swap_claims
from ostro.services.placement.engine import HostRequest, PlacementEngine
from ostro.services.placement.names import DISABLED
from ostro.store.attachments import ATTACHMENTS
from ostro.store.block_devices import BLOCK_DEVICES
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.images import HOLDS
from ostro.store.lent_volumes import forget_lent, list_lent, note_lent
from ostro.store.reports import find_current_report, find_report, is_absent
from ostro.store.server_migrations import (
    SERVER_MIGRATIONS,
    Kind,
    ServerMigration,
    Stage,
    list_leaving,
    new_migration,
    next_number,
)
from ostro.store.servers import SERVERS, Server
from ostro.store.volumes import VOLUMES, Volume
from ostro.store.wishes import set_wish, wish_absence

LEAVE = "server.leave"
LEAVE_S = 3600.0
CONSUMER_TYPE = "MIGRATION"
UNDER_WAY = ("accepted", "queued", "preparing", "pre-migrating", "running", "migrating", "post-migrating")
"""Statuses of migrations that have yet to come to an end."""
CHANGED_OVER = (Stage.OVER, Stage.REVERTING)
"""Stages in which a server has its new shape."""


# ---- where to ------------------------------------------------------------------------------------------------------


def check_target(tx: Tx, context: Context, server: Server, name: str) -> Host:
    """The host that was named, if the server can go there at all. Raises Invalid with Compute's words."""
    host = HOSTS.find(tx, name=name)
    if host is None:
        raise Invalid(f"Compute host {name} could not be found.")
    if host.id == server.host_id:
        raise Invalid(f"Unable to migrate instance ({server.id}) to current host ({name}).")
    if not is_up(host, context.now_us):
        raise Invalid(f"Compute service of {name} is unavailable at this time.")
    if host.id in _left(tx, server):
        raise Conflict(f"Host {name} has yet to clear away what it has of instance {server.id}; try again.")
    return host


def _left(tx: Tx, server: Server) -> set[str]:
    """Hosts that the server has yet to leave."""
    return {migration.leaving_host_id for migration in list_leaving(tx, server.id)}


def check_source(tx: Tx, context: Context, server: Server) -> Host:
    """The server's host, which must be there to give the server away. Raises Conflict, Invalid."""
    if not server.host_id or not server.launched_at_us:
        raise Conflict(f"Instance {server.id} is not ready")
    host = HOSTS.get(tx, server.host_id)
    if not is_up(host, context.now_us):
        raise Invalid(f"Compute service of {host.name} is unavailable at this time.")
    return host


def own_volumes(tx: Tx, server_id: str) -> list[Volume]:
    """The volumes that the server has plugged in."""
    ids = [device.volume_id for device in BLOCK_DEVICES.list(tx, server_id=server_id)]
    return VOLUMES.list(tx, id=ids, order="id") if ids else []


def check_volumes(tx: Tx, server: Server) -> list[str]:
    """The traits that a host must have for the server's volumes. Raises Invalid for one that can't go along."""
    traits = set()
    for volume in own_volumes(tx, server.id):
        if not is_shared(volume):
            raise Invalid(
                f"Instance {server.id} has volume {volume.id}, which is on the disks of its host; "
                "only volumes in storage that hosts share can go along."
            )
        traits.add(storage_trait(volume.wished_backend))
    return sorted(traits)


def keeps_roots_in_ceph(host: Host) -> bool:
    """Whether the host makes root disks in Ceph: the first kind of storage that it names is the one it prefers."""
    kinds = [trait for trait in host.inventory.traits if trait in (storage_trait(CEPH), storage_trait(LOCAL))]
    return bool(kinds) and kinds[0] == storage_trait(CEPH)


def _has_root_in_ceph(tx: Tx, server: Server) -> bool:
    """Whether the server has a root disk of its own in Ceph: as its host has said of it, or else as that one makes root disks."""
    if server.root_volume_id:
        return False
    report = find_report(tx, server.host_id, Noun.SERVER, server.id)
    if report is not None and report.backend:
        return report.backend == CEPH
    return keeps_roots_in_ceph(HOSTS.get(tx, server.host_id))


def has_shared_root(tx: Tx, server: Server) -> bool:
    """Whether the server's root disk is in storage that hosts share."""
    return bool(server.root_volume_id) or _has_root_in_ceph(tx, server)


def host_request(
    tx: Tx, server: Server, resources: Mapping[str, int], flavor: str, only: Sequence[str] | None, *, stay: bool = False
) -> HostRequest:
    """What the next host of the server must have and be. ``flavor`` is the view of the one that it will have; ``stay`` allows its present host."""
    required = [f"!{DISABLED}", *check_volumes(tx, server)]
    if _has_root_in_ceph(tx, server):
        required.append(storage_trait(CEPH))
    for key, value in json.loads(flavor).get("extra_specs", {}).items():
        if key.startswith("trait:"):
            required.append(key[6:] if value == "required" else f"!{key[6:]}")
    not_hosts = _left(tx, server) | (set() if stay else {server.host_id})
    return HostRequest(resources=resources, required=required, only_hosts=only, not_hosts=sorted(not_hosts))


# ---- beginning and ending ------------------------------------------------------------------------------------------


def claim_target(
    tx: Tx, context: Context, engine: PlacementEngine, server: Server, request: HostRequest, migration_id: str
) -> Host:
    """Claim a host for the server; what it has now becomes the migration's. Raises Invalid with the reasons when nobody has room."""
    owner = Owner(migration_id, server.project_id, server.user_id, CONSUMER_TYPE)
    hand_over_claim(tx, server.id, owner, context.now_us)
    seed = context.rng.getrandbits(63)
    try:
        host_id = claim_host(
            tx, engine, request, Owner(server.id, server.project_id, server.user_id), seed=seed, now_us=context.now_us
        )
    except NoCapacity as error:
        raise Invalid(error.message) from error
    host = HOSTS.get(tx, host_id)
    if not is_up(host, context.now_us):
        raise Invalid("No valid host was found. Those with room do not answer.")
    return host


def open_migration(
    tx: Tx, context: Context, server: Server, kind: Kind, target: Host, migration_id: str, status: str, **more: Any
) -> ServerMigration:
    """The migration's row. The server is ``more``'s to mark."""
    row = new_migration(
        migration_id,
        next_number(tx),
        server.id,
        context.project_id or server.project_id,
        context.user_id or server.user_id,
        kind,
        status,
        source=(server.host_id, server.host_name),
        target=(target.id, target.name),
        request_id=context.request_id,
        now_us=context.now_us,
    )
    return SERVER_MIGRATIONS.insert(tx, msgspec.structs.replace(row, **more))


def change_migration(tx: Tx, migration: ServerMigration, now_us: int, **changes: Any) -> ServerMigration:
    """Change columns of a migration."""
    changes["updated_at_us"] = now_us
    SERVER_MIGRATIONS.update(tx, migration.uuid, **changes)
    return msgspec.structs.replace(migration, **changes)


def make_target_ready(tx: Tx, server: Server, target: Host, now_us: int) -> None:
    """Wish of the target what the server needs there: its ports, its image, and its volumes."""
    expect_nics(tx, server.id, target.id, now_us)
    if server.image_id and not server.root_volume_id:
        hold_image(tx, target.id, server.image_id, server.id)
    for volume in own_volumes(tx, server.id):
        lend_volume(tx, volume, target.id)
        note_lent(tx, target.id, volume.id)


def settle_on(tx: Tx, server: Server, host: Host, now_us: int, **changes: Any) -> Server:
    """The server is the host's from now on: its row, its ports and its attachments say so. The wish is the caller's."""
    switch_nics(tx, server.id, host.id, now_us)
    for volume in own_volumes(tx, server.id):
        note_lent(tx, server.host_id, volume.id)
    ATTACHMENTS.update_where(tx, {"host_id": host.id}, server_id=server.id)
    take_back_loans(tx, host.id)
    changes = {"taken_from": "", **changes, "host_id": host.id, "host_name": host.name, "updated_at_us": now_us}
    SERVERS.update(tx, server.id, **changes)
    return msgspec.structs.replace(server, **changes)


def leave(
    tx: Tx,
    saga_id: str,
    server: Server,
    migration: ServerMigration,
    host_id: str,
    heir: str,
    now_us: int,
    **changes: Any,
) -> None:
    """Have the host give up what it has of the server, which is the ``heir``'s now, a host's name; or nobody's, if that is empty."""
    change_migration(tx, migration, now_us, leaving_host_id=host_id, stage=Stage.OVER, **changes)
    if heir:
        left = GoingWish(migration.uuid, left=True, heir=heir)
        wish = msgspec.structs.replace(make_wish(tx, server), power=Power.OFF, ports=[], attachments=[], going=left)
        set_wish(tx, host_id, Noun.SERVER, server.id, wish)
    else:
        wish_absence(tx, host_id, Noun.SERVER, server.id)
    for volume in own_volumes(tx, server.id):
        if not ATTACHMENTS.count(tx, volume_id=volume.id, host_id=host_id):
            take_back_volume(tx, volume, host_id)
    start_saga(tx, saga_id, LEAVE, migration.uuid, {}, now_us)


def break_off(tx: Tx, saga_id: str, server: Server, now_us: int, reason: str, *, heir: str = "") -> None:
    """The server is overtaken by something else while it moves, or waits to be confirmed: the host that doesn't have it leaves.

    ``heir`` is the host that shall have it, empty when it is to be deleted.
    """
    migration = SERVER_MIGRATIONS.find(tx, uuid=server.migration_id) if server.migration_id else None
    if migration is None:
        return
    stop_expecting_nics(tx, server.id, now_us)
    SERVERS.update(tx, server.id, migration_id="", moving=TaskState.NONE, resized=False)
    if migration.kind is Kind.EVACUATION:
        # Its source has been leaving from the beginning, and nobody else has anything of the server but its host.
        change_migration(tx, migration, now_us, status="failed", reason=reason)
        return
    stays = migration.source_host_id == migration.target_host_id
    # On one host all the time, it has arrived once it has its new shape.
    arrived = migration.stage in CHANGED_OVER if stays else server.host_id == migration.target_host_id
    if not arrived:
        swap_claims(tx, server.id, migration.uuid, now_us)
    other_id = migration.source_host_id if arrived else migration.target_host_id
    status = migration.status if migration.status not in UNDER_WAY else "cancelled"
    if stays:
        release_claim(tx, migration.uuid, now_us)
        change_migration(tx, migration, now_us, stage=Stage.OVER, status=status, reason=reason)
    else:
        leave(tx, saga_id, server, migration, other_id, heir, now_us, status=status, reason=reason)


def leave_saga(engine: PlacementEngine) -> Saga:
    """See the module."""

    def has_let_go(tx: Tx, run: Run) -> Outcome:
        migration = SERVER_MIGRATIONS.find(tx, uuid=run.object_id)
        return (
            Ready() if migration is None or lets_go(tx, migration, migration.leaving_host_id) else Waiting(paused=True)
        )

    def clear(tx: Tx, run: Run) -> None:
        migration = SERVER_MIGRATIONS.find(tx, uuid=run.object_id)
        if migration is not None:
            wish_absence(tx, migration.leaving_host_id, Noun.SERVER, migration.server_id)

    def is_clear(tx: Tx, run: Run) -> Outcome:
        migration = SERVER_MIGRATIONS.find(tx, uuid=run.object_id)
        if migration is None or is_absent(tx, migration.leaving_host_id, Noun.SERVER, migration.server_id):
            return Ready()
        # As with deleting: giving anything back now could give it to two.
        return Waiting(paused=True)

    def give_back(tx: Tx, run: Run) -> None:
        migration = SERVER_MIGRATIONS.find(tx, uuid=run.object_id)
        if migration is None:
            return
        release_claim(tx, migration.uuid, run.now_us, engine)
        take_back_loans(tx, migration.leaving_host_id)
        for hold in HOLDS.list(tx, host_id=migration.leaving_host_id, holder_id=migration.server_id):
            drop_image(tx, migration.leaving_host_id, hold.image_id, migration.server_id)
        status = "completed" if migration.kind is Kind.EVACUATION and migration.status == "done" else migration.status
        change_migration(tx, migration, run.now_us, leaving_host_id="", status=status)

    return Saga(
        LEAVE,
        (
            Await("let_go", has_let_go, LEAVE_S, "unreachable: the clock stands still"),
            Write("cleared", clear),
            Await("clear", is_clear, LEAVE_S, "unreachable: the clock stands still"),
            Write("left", give_back),
        ),
    )


def take_back_loans(tx: Tx, host_id: str) -> None:
    """Take back every volume that was lent to the host for a server that has neither its home there nor a move under way that may end there.

    What was plugged in when a move began may have been pulled out before its end, so who has left says nothing about which these are.
    """
    for volume_id in list_lent(tx, host_id):
        if ATTACHMENTS.count(tx, volume_id=volume_id, host_id=host_id):
            forget_lent(tx, host_id, volume_id)
            continue
        volume = VOLUMES.find(tx, id=volume_id)
        if volume is not None and _may_need(tx, volume, host_id):
            continue
        if volume is None or volume.host_id != host_id:
            wish_absence(tx, host_id, Noun.VOLUME, volume_id)
        forget_lent(tx, host_id, volume_id)


def _may_need(tx: Tx, volume: Volume, host_id: str) -> bool:
    """Whether a server has the volume that may come to be on the host."""
    owners = [SERVERS.find(tx, id=device.server_id) for device in BLOCK_DEVICES.list(tx, volume_id=volume.id)]
    moves = [SERVER_MIGRATIONS.get(tx, owner.migration_id) for owner in owners if owner and owner.migration_id]
    return any(
        host_id in (move.source_host_id, move.target_host_id) for move in moves if move.kind is not Kind.EVACUATION
    )


def lets_go(tx: Tx, migration: ServerMigration, host_id: str) -> bool:
    """Whether the host has said that it doesn't have the server any more."""
    if is_absent(tx, host_id, Noun.SERVER, migration.server_id):
        return True
    report = find_current_report(tx, host_id, Noun.SERVER, migration.server_id)
    told = report.migration if report is not None else None
    return told is not None and told.id == migration.uuid and told.state is MigrationState.MIGRATED
