"""What happens to a volume between the request and the host's last report.

The request itself writes the wish; these sagas wait for the report and see that nothing waits for ever:

    volume.create   wish -> built                 late or failed: error, and the host forgets the volume
    volume.extend   wish -> grown                 late or failed: error_extending
    volume.retype   wish -> moved                 late or failed: it stays where it was
    volume.delete   wish -> gone -> forget        late: error_deleting

A host that is silent stops the clock.
"""

from __future__ import annotations

from ostro.model.wishes import Noun
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Write
from ostro.services.agents.hosts import waiting_for
from ostro.services.block.status import refresh_status
from ostro.services.block.wishes import wish_no_volume, wish_volume
from ostro.services.image.holds import drop_image
from ostro.services.placement.claims import release_claim
from ostro.services.placement.engine import PlacementEngine
from ostro.store.database import Tx
from ostro.store.reports import is_absent
from ostro.store.volumes import VOLUMES

CREATE_MOST_S = 3600.0
EXTEND_MOST_S = 3600.0
RETYPE_MOST_S = 86_400.0
DELETE_MOST_S = 86_400.0


def _wished(tx: Tx, run: Run) -> None:
    """The request has written the wish in the transaction that started the saga."""


def _fail(tx: Tx, run: Run) -> None:
    """Say why it came to nothing."""
    VOLUMES.update_where(tx, {"fault": run.fault or "The operation was given up."}, id=run.object_id)
    refresh_status(tx, run.object_id, run.now_us)


def _fail_create(tx: Tx, run: Run) -> None:
    """The volume stays as an error to be looked at and deleted; its host need not try any more."""
    _fail(tx, run)
    volume = VOLUMES.find(tx, id=run.object_id)
    if volume is not None:
        wish_no_volume(tx, volume)


def _built(tx: Tx, run: Run) -> Outcome:
    volume = VOLUMES.find(tx, id=run.object_id)
    if volume is None or volume.built:
        return Ready()
    return Failed(volume.fault) if volume.fault else waiting_for(tx, volume.host_id, run.now_us)


def _grown(tx: Tx, run: Run) -> Outcome:
    volume = VOLUMES.find(tx, id=run.object_id)
    if volume is None or volume.size_gb >= volume.wished_size_gb:
        return Ready()
    return Failed(volume.fault) if volume.fault else waiting_for(tx, volume.host_id, run.now_us)


def _stay(tx: Tx, run: Run) -> None:
    """The volume shall be where it is, and of the type it was."""
    volume = VOLUMES.find(tx, id=run.object_id)
    if volume is None or volume.deleting:
        return
    VOLUMES.update(
        tx,
        volume.id,
        fault="",
        wished_backend=volume.backend or volume.wished_backend,
        volume_type_id=run.params["type_id"],
    )
    changed = refresh_status(tx, volume.id, run.now_us)
    assert changed is not None, "it was found just now"
    wish_volume(tx, changed)


def _moved(tx: Tx, run: Run) -> Outcome:
    volume = VOLUMES.find(tx, id=run.object_id)
    if volume is None or volume.backend == volume.wished_backend:
        return Ready()
    return Failed(volume.fault) if volume.fault else waiting_for(tx, volume.host_id, run.now_us)


def _gone(tx: Tx, run: Run) -> Outcome:
    volume = VOLUMES.find(tx, id=run.object_id)
    if volume is None or not volume.host_id or is_absent(tx, volume.host_id, Noun.VOLUME, volume.id):
        return Ready()
    return waiting_for(tx, volume.host_id, run.now_us)


def forget_volume(tx: Tx, volume_id: str, now_us: int, engine: PlacementEngine | None = None) -> None:
    """The host has nothing of the volume any more: give back its place and forget it. Idempotent."""
    volume = VOLUMES.find(tx, id=volume_id)
    if volume is None:
        return
    if volume.image_id and volume.host_id:
        drop_image(tx, volume.host_id, volume.image_id, volume.id)
    release_claim(tx, volume.id, now_us, engine)
    VOLUMES.delete(tx, volume.id)


def block_sagas(engine: PlacementEngine) -> tuple[Saga, ...]:
    """The sagas of volumes."""

    def forget(tx: Tx, run: Run) -> None:
        forget_volume(tx, run.object_id, run.now_us, engine)

    create = Saga(
        "volume.create",
        (
            Write("wish", _wished, undo=_fail_create),
            Await("built", _built, CREATE_MOST_S, "The host did not make the volume within an hour."),
        ),
    )
    extend = Saga(
        "volume.extend",
        (
            Write("wish", _wished, undo=_fail),
            Await("grown", _grown, EXTEND_MOST_S, "The host did not extend the volume within an hour."),
        ),
    )
    retype = Saga(
        "volume.retype",
        (
            Write("wish", _wished, undo=_stay),
            Await("moved", _moved, RETYPE_MOST_S, "The host did not move the volume within a day."),
        ),
    )
    delete = Saga(
        "volume.delete",
        (
            Write("wish", _wished, undo=_fail),
            Await("gone", _gone, DELETE_MOST_S, "The host did not delete the volume within a day."),
            Write("forget", forget),
        ),
    )
    return create, extend, retype, delete
