"""Images made of what volumes hold.

The request makes the image's record, takes the volume and wishes the image of the volume's host; the volume is uploading, and goes back to what
it was when the saga ends::

    volume.upload   wish -> made -> let go        late, failed, or one of the two deleted: the image is deleted

The host either puts the bytes where the control plane keeps images by itself, and its report makes the image active, or sends them: each
attempt is then an upload of its own (`ostro.services.image.uploads`), whose last transaction makes the image active. A control plane that dies
in the middle of an attempt leaves a draft that is swept, and the host tries again.
"""

from __future__ import annotations

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid
from ostro.model.images import ImageStatus, Visibility
from ostro.model.volumes import LOCAL, VolumeStatus
from ostro.model.wishes import Noun, Phase, Report, UploadWish
from ostro.saga.engine import Await, Failed, Outcome, Ready, Run, Saga, Write, start_saga
from ostro.services.agents.hosts import check_speaker, waiting_for
from ostro.services.agents.joining import Speaker, check_certificate
from ostro.services.block.attachments import get_own_volume
from ostro.services.block.encryptions import find_key
from ostro.services.block.status import refresh_status
from ostro.services.image.images import ImageDraft, bury_image, create_image
from ostro.services.image.quotas import check_upload
from ostro.store.controllers import add_live_upload
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.images import IMAGES, Image
from ostro.store.volume_types import VOLUME_TYPES, VolumeType
from ostro.store.volume_uploads import VOLUME_UPLOADS, VolumeUpload
from ostro.store.volumes import VOLUMES, Volume
from ostro.store.wishes import find_generation, set_wish, wish_absence

GIB = 1 << 30
UPLOAD_MOST_S = 86_400.0
DISK_FORMATS = ("raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx", "ploop")
CORE_PROPERTIES = frozenset(
    (
        "checksum",
        "container_format",
        "disk_format",
        "image_name",
        "image_id",
        "min_disk",
        "min_ram",
        "name",
        "size",
    )
)
"""What a volume remembers of its image and doesn't pass on: it is another image's now."""


class UploadDraft(msgspec.Struct, frozen=True):
    """What a client says of the image."""

    image_name: str
    disk_format: str = "raw"
    container_format: str = "bare"
    visibility: Visibility = Visibility.SHARED
    protected: bool = False
    force: bool = False
    """Also of a volume that is plugged in: the image then is what a power cut would have left."""


class Upload(msgspec.Struct, frozen=True):
    """An upload that has begun: the volume as it is now, its type, and the image."""

    volume: Volume
    type: VolumeType
    image: Image


def upload_volume(tx: Tx, context: Context, volume_id: str, draft: UploadDraft, shared_backend: str) -> Upload:
    """Begin to make an image of a volume. ``shared_backend`` is the storage shared with hosts where images are kept, empty for none.

    Raises NotFound, Invalid for a volume in another state, OverLimit and Forbidden as the image service does.
    """
    volume = get_own_volume(tx, context, volume_id)
    _check_volume(tx, volume, force=draft.force)
    image = create_image(
        tx,
        context,
        ImageDraft(
            name=draft.image_name,
            visibility=draft.visibility,
            protected=draft.protected,
            disk_format=draft.disk_format,
            container_format=draft.container_format,
            min_disk_gb=volume.size_gb,
            properties={k: v for k, v in volume.image_metadata.items() if k not in CORE_PROPERTIES},
        ),
    )
    check_upload(tx, context, image.owner_id, volume.size_gb * GIB if draft.disk_format == "raw" else None)
    upload = VolumeUpload(
        id=context.new_id(),
        volume_id=volume.id,
        image_id=image.id,
        host_id=volume.host_id,
        shared=bool(shared_backend) and shared_backend == volume.wished_backend and draft.disk_format == "raw",
        fault="",
        created_at_us=context.now_us,
    )
    VOLUME_UPLOADS.insert(tx, upload)
    changes = {"status": ImageStatus.SAVING, "upload_id": upload.id}
    IMAGES.update(tx, image.id, **changes)
    wish = UploadWish(upload.id, volume.id, draft.disk_format, upload.shared)
    set_wish(tx, upload.host_id, Noun.UPLOAD, upload.id, wish)
    start_saga(tx, context.new_id(), "volume.upload", upload.id, {}, context.now_us)
    changed = refresh_status(tx, volume.id, context.now_us)
    assert changed is not None, "it was found just now"
    return Upload(changed, VOLUME_TYPES.get(tx, volume.volume_type_id), IMAGES.get(tx, image.id))


def _check_volume(tx: Tx, volume: Volume, *, force: bool) -> None:
    """Raise Invalid unless an image of the volume can be made now."""
    allowed = [VolumeStatus.AVAILABLE, VolumeStatus.IN_USE] if force else [VolumeStatus.AVAILABLE]
    if volume.status not in allowed:
        raise Invalid(
            f"Invalid volume: Volume {volume.id} status must be {' or '.join(allowed)}, "
            f"but current status is: {volume.status}."
        )
    if volume.status is VolumeStatus.IN_USE and volume.wished_backend == LOCAL:
        raise Invalid(
            f"Invalid volume: Volume {volume.id} is in files and plugged in; an image of it can be made when it is unplugged."
        )
    if find_key(tx, volume.id) is not None:
        raise Invalid(
            f"Invalid volume: Volume {volume.id} is encrypted; images of encrypted volumes are not supported."
        )


def settle_upload(tx: Tx, host_id: str, report: Report, now_us: int) -> None:
    """A host has reported on an upload: an image whose bytes it has put in place by itself is active; what it gave up on is noted."""
    upload = VOLUME_UPLOADS.find(tx, id=report.id, host_id=host_id)
    if upload is None:
        return
    if report.phase is Phase.READY and upload.shared:
        size_bytes = report.size_gb * GIB
        changes = {
            "status": ImageStatus.ACTIVE,
            "size_bytes": size_bytes,
            "virtual_size_bytes": size_bytes,
            "updated_at_us": now_us,
        }
        IMAGES.update_where(tx, changes, id=upload.image_id, upload_id=upload.id, status=ImageStatus.SAVING)
    elif report.phase is Phase.FAILED and find_generation(tx, host_id, Noun.UPLOAD, upload.id) == report.generation:
        VOLUME_UPLOADS.update(tx, upload.id, fault=report.reason or "The host gave up.")


# -- bytes that a host sends ---------------------------------------------------------------------------------------


def begin_attempt(
    tx: Tx,
    context: Context,
    attempt_id: str,
    length_bytes: int | None,
    *,
    host_id: str,
    upload_id: str,
    speaker: Speaker,
) -> Image:
    """The host sends the bytes: the image takes them from this attempt and no other. Raises NotFound, Conflict when nobody waits for them any more."""
    check_certificate(tx, context, speaker)
    check_speaker(tx, host_id, speaker)
    upload = VOLUME_UPLOADS.find(tx, id=upload_id, host_id=host_id)
    if upload is None:
        raise Conflict(f"Nobody waits for the bytes of upload {upload_id}.")
    changes = {"upload_id": attempt_id, "updated_at_us": context.now_us}
    if not IMAGES.update_where(tx, changes, id=upload.image_id, status=ImageStatus.SAVING):
        raise Conflict(f"Image {upload.image_id} does not wait for bytes.")
    add_live_upload(tx, attempt_id, context.now_us)
    return IMAGES.get(tx, upload.image_id)


def lose_attempt(tx: Tx, image_id: str, attempt_id: str) -> bool:
    """The attempt came to nothing; the image waits for another. Whether its bytes are nobody's."""
    image = IMAGES.find(tx, id=image_id, upload_id=attempt_id)
    return image is None or image.size_bytes < 0


# -- the saga ------------------------------------------------------------------------------------------------------


def _wished(tx: Tx, run: Run) -> None:
    """The request has written the wish in the transaction that started the saga."""


def _made(tx: Tx, run: Run) -> Outcome:
    upload = VOLUME_UPLOADS.find(tx, id=run.object_id)
    if upload is None:
        return Ready()
    image = IMAGES.find(tx, id=upload.image_id)
    if image is None or image.status is ImageStatus.DELETED:
        return Failed("The image was deleted.")
    if image.status is not ImageStatus.SAVING:
        return Ready()
    volume = VOLUMES.find(tx, id=upload.volume_id)
    if volume is None or volume.deleting:
        return Failed("The volume was deleted.")
    if HOSTS.find(tx, id=upload.host_id) is None:
        return Failed("The volume's host is gone.")
    return Failed(upload.fault) if upload.fault else waiting_for(tx, upload.host_id, run.now_us)


def _let_go(tx: Tx, run: Run) -> None:
    """The host need not do any more, and the volume is what it was."""
    upload = VOLUME_UPLOADS.find(tx, id=run.object_id)
    if upload is None:
        return
    VOLUME_UPLOADS.delete(tx, upload.id)
    wish_absence(tx, upload.host_id, Noun.UPLOAD, upload.id)
    refresh_status(tx, upload.volume_id, run.now_us)


def _give_up(tx: Tx, run: Run) -> None:
    """There is no image, as if there had never been one."""
    upload = VOLUME_UPLOADS.find(tx, id=run.object_id)
    if upload is not None:
        bury_image(tx, upload.image_id, run.now_us)
        _let_go(tx, run)


def upload_saga() -> Saga:
    """See the module's docstring."""
    return Saga(
        "volume.upload",
        (
            Write("wish", _wished, undo=_give_up),
            Await("made", _made, UPLOAD_MOST_S, "The host did not make the image within a day."),
            Write("let_go", _let_go),
        ),
    )
