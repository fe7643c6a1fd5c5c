"""Deleting servers: the wish for absence, and what is given back once the host has fulfilled it.

Deletion works in every state and overtakes creation. Nothing that the host may still be using (addresses, claim, image, volumes)
is given back before the host has reported the server absent, however long that takes.

Fault point: ``server.delete.stored`` inside the transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from ostro.model.context import Context
from ostro.model.servers import PowerState, TaskState, VmState
from ostro.model.wishes import Noun
from ostro.runtime.faults import Faults
from ostro.saga.engine import start_saga
from ostro.services.block.volumes import delete_with_server
from ostro.services.compute.instance_actions import EVERY_ACTION, finish, record_action
from ostro.services.compute.moves import break_off
from ostro.services.compute.servers import lock_free, refresh_status, release_volume
from ostro.services.compute.visibility import get_server
from ostro.services.image.holds import drop_image
from ostro.services.network.binding import release_nics
from ostro.services.placement.claims import release_claim
from ostro.services.placement.engine import PlacementEngine
from ostro.store.block_devices import BLOCK_DEVICES
from ostro.store.database import Tx
from ostro.store.servers import SERVER_STARTS, SERVERS, Server
from ostro.store.wishes import wish_absence

SAGA = "server.delete"


def delete_server(tx: Tx, context: Context, engine: PlacementEngine, faults: Faults, server_id: str) -> None:
    """Wish the server gone. Doing it again while it goes changes nothing; once it is gone it is NotFound."""
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    if server.deleting:
        return
    finish(tx, server.id, EVERY_ACTION, context.now_us, error="The server was deleted.")
    record_action(tx, context, server, "delete")
    if not server.host_id:
        bury(tx, engine, server, context.new_id, context.now_us)
    else:
        SERVERS.update(tx, server.id, deleting=True, updated_at_us=context.now_us)
        break_off(tx, context.new_id(), server, context.now_us, "The server was deleted.")
        wish_absence(tx, server.host_id, Noun.SERVER, server.id)
        start_saga(tx, context.new_id(), SAGA, server.id, {}, context.now_us)
        refresh_status(tx, server.id, context.now_us)
    faults.hit("server.delete.stored")


def vacate(tx: Tx, engine: PlacementEngine, server: Server, now_us: int) -> None:
    """The server is on its host no more: give back its part of it and its image. Idempotent."""
    release_claim(tx, server.id, now_us, engine)
    if server.image_id and server.host_id:
        drop_image(tx, server.host_id, server.image_id, server.id)


def bury(tx: Tx, engine: PlacementEngine, server: Server, new_id: Callable[[], str], now_us: int) -> None:
    """The server is gone: give back everything, delete the volumes that go with it, and leave a tombstone. Idempotent."""
    release_nics(tx, server.id, now_us)
    for device in BLOCK_DEVICES.list(tx, server_id=server.id):
        release_volume(tx, server.id, device.volume_id, now_us)
        if device.delete_on_termination:
            delete_with_server(tx, device.volume_id, new_id(), now_us)
    vacate(tx, engine, server, now_us)
    SERVER_STARTS.delete(tx, server.id)
    SERVERS.update(
        tx,
        server.id,
        status="DELETED",
        vm_state=VmState.DELETED,
        task_state=TaskState.NONE,
        power_state=PowerState.NOSTATE,
        deleting=False,
        deleted_at_us=now_us,
        updated_at_us=now_us,
    )
    finish(tx, server.id, ("delete",), now_us)
