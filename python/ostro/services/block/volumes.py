"""Volumes: made on the disks of one host, which is claimed in the transaction that makes them."""

from __future__ import annotations

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Invalid, NoCapacity, QuotaExceeded
from ostro.model.images import ImageStatus
from ostro.model.qos import back_end_limits, front_end_limits
from ostro.model.volumes import LOCAL, SnapshotStatus, VolumeStatus, storage_trait
from ostro.model.wishes import Noun, Phase, Report
from ostro.saga.engine import start_saga
from ostro.services.block.attachments import get_own_volume, is_shared
from ostro.services.block.encryptions import check_source, find_key, give_key
from ostro.services.block.quotas import check_extension, check_new_volume, check_retype
from ostro.services.block.reverts import forget_revert
from ostro.services.block.sagas import forget_volume
from ostro.services.block.snapshots import delete_snapshots_of, get_snapshot
from ostro.services.block.status import refresh_status, status_of
from ostro.services.block.types import backend_of, get_default_type, get_type, qos_of
from ostro.services.block.wishes import wish_no_volume, wish_volume
from ostro.services.image.holds import hold_image
from ostro.services.image.images import find_visible_image
from ostro.services.placement.claims import Owner, claim_host, grow_claim, shrink_claim
from ostro.services.placement.engine import DEFAULT_ZONE, HostRequest, PlacementEngine
from ostro.store.attachments import ATTACHMENTS, Attachment
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.images import Image
from ostro.store.paging import Filter, Page, Where, list_page
from ostro.store.providers import PROVIDER_TRAITS
from ostro.store.sagas import poke_sagas
from ostro.store.snapshots import SNAPSHOTS
from ostro.store.volume_keys import VOLUME_KEYS, VolumeKey
from ostro.store.volume_types import VOLUME_TYPES, VolumeType
from ostro.store.volume_uploads import VOLUME_UPLOADS
from ostro.store.volumes import VOLUMES, Volume, count_sizes
from ostro.store.wishes import find_generation

SIZE_MOST_GB = 16_384
GIB = 1 << 30
DELETABLE = frozenset(
    (VolumeStatus.AVAILABLE, VolumeStatus.ERROR, VolumeStatus.ERROR_EXTENDING, VolumeStatus.ERROR_DELETING)
)


class VolumeDraft(msgspec.Struct, frozen=True):
    """What a client says of a new volume. A size of 0 is that of the source."""

    size_gb: int = 0
    name: str = ""
    description: str = ""
    metadata: dict[str, str] = {}
    image_id: str = ""
    source_volume_id: str = ""
    snapshot_id: str = ""
    volume_type: str = ""
    availability_zone: str = ""
    host_id: str = ""
    """The only host that will do; a client can't say it."""
    sealed_key: str = ""
    """A fresh secret, for a type that demands encryption (`ostro.services.identity.sealing`)."""


class VolumeDetails(msgspec.Struct, frozen=True):
    """A volume with what the API shows beside it."""

    volume: Volume
    attachments: list[Attachment]
    type_name: str
    host_name: str
    key: VolumeKey | None = None


def check_size(size_gb: int) -> None:
    """Raise Invalid for a size that no volume can have."""
    if size_gb <= 0:
        raise Invalid(f"Invalid input received: Volume size '{size_gb}' must be an integer and greater than 0")
    if size_gb > SIZE_MOST_GB:
        raise Invalid(f"Invalid input received: a volume may have {SIZE_MOST_GB} GB, {size_gb} were asked for")


def _usable_image(tx: Tx, context: Context, image_id: str, size_gb: int) -> Image:
    """The image to start from. Raises Invalid in Block Storage's words."""
    image = find_visible_image(tx, context, image_id)
    if image is None:
        raise Invalid("Invalid image identifier or unable to access requested image.")
    if image.status is not ImageStatus.ACTIVE:
        raise Invalid(f"Invalid input received: Image {image_id} is not active.")
    needed_gb = -(-max(image.virtual_size_bytes, image.size_bytes) // GIB)
    if needed_gb > size_gb:
        raise Invalid(
            f"Invalid input received: Size of specified image {needed_gb}GB is larger than volume size {size_gb}GB."
        )
    if image.min_disk_gb > size_gb:
        raise Invalid(
            f"Invalid input received: Volume size {size_gb}GB cannot be smaller than "
            f"the image minDisk size {image.min_disk_gb}GB."
        )
    return image


def _source_of(tx: Tx, context: Context, draft: VolumeDraft) -> tuple[Volume | None, int]:
    """The volume to copy, or whose snapshot to copy, and the least size that does for it. Raises NotFound, Invalid."""
    if draft.snapshot_id:
        return _usable_snapshot(tx, context, draft)
    if not draft.source_volume_id:
        return None, 0
    source = _usable_source(tx, context, draft)
    return source, source.size_gb


def _usable_snapshot(tx: Tx, context: Context, draft: VolumeDraft) -> tuple[Volume, int]:
    snapshot = get_snapshot(tx, context, draft.snapshot_id)
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise Invalid(
            f"Invalid snapshot: Originating snapshot status must be one of 'available' values: {snapshot.id}."
        )
    if draft.size_gb and draft.size_gb < snapshot.size_gb:
        raise Invalid(
            f"Invalid input received: Volume size {draft.size_gb}GB cannot be smaller than "
            f"the snapshot size {snapshot.size_gb}GB. They must be >= original snapshot size."
        )
    return VOLUMES.get(tx, snapshot.volume_id), snapshot.size_gb


def _usable_source(tx: Tx, context: Context, draft: VolumeDraft) -> Volume:
    """The volume to copy. Raises NotFound, Invalid."""
    source = get_own_volume(tx, context, draft.source_volume_id)
    if source.status is not VolumeStatus.AVAILABLE:
        raise Invalid(f"Invalid volume: a volume is copied while it is available; {source.id} is {source.status}.")
    if draft.size_gb and draft.size_gb < source.size_gb:
        raise Invalid(
            f"Invalid input received: Clones currently must be >= original volume size: "
            f"{draft.size_gb}GB is smaller than {source.size_gb}GB."
        )
    return source


def _image_metadata(image: Image) -> dict[str, str]:
    """What a volume remembers of its image."""
    return {
        **image.properties,
        "image_id": image.id,
        "image_name": image.name,
        "checksum": image.checksum,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": str(image.min_disk_gb),
        "min_ram": str(image.min_ram_mb),
        "size": str(image.size_bytes),
    }


def check_draft(tx: Tx, context: Context, draft: VolumeDraft) -> None:
    """Raise Invalid and NotFound as making the volume would, having a place aside."""
    source, least_gb = _source_of(tx, context, draft)
    check_size(draft.size_gb or least_gb)
    check_source(tx, source, _type_of(tx, context, draft, source).id)
    if draft.image_id:
        _usable_image(tx, context, draft.image_id, draft.size_gb)


def _type_of(tx: Tx, context: Context, draft: VolumeDraft, source: Volume | None = None) -> VolumeType:
    """The type asked for, or that of the source, or the default."""
    if draft.volume_type:
        return get_type(tx, context, draft.volume_type)
    return VOLUME_TYPES.get(tx, source.volume_type_id) if source else get_default_type(tx, context)


def needs_of(tx: Tx, context: Context, draft: VolumeDraft) -> tuple[int, list[str], str]:
    """(GB, traits, id) of the host where the volume can be made: what it must have, and which one it must be, empty for any."""
    source, least_gb = _source_of(tx, context, draft)
    backend = backend_of(_type_of(tx, context, draft, source))
    bound = source is not None and not (is_shared(source) and backend == source.wished_backend)
    return draft.size_gb or least_gb, _traits(backend), source.host_id if source and bound else ""


def _limits_of(tx: Tx, kind: VolumeType, size_gb: int) -> dict[str, int]:
    """What the storage holds a volume of the type to."""
    qos = qos_of(tx, kind)
    return back_end_limits(qos.consumer, qos.specs, size_gb) if qos else {}


def _traits(backend: str) -> list[str]:
    return [] if backend == LOCAL else [storage_trait(backend)]


def create_volume(tx: Tx, context: Context, engine: PlacementEngine, draft: VolumeDraft) -> VolumeDetails:
    """Make a volume and claim its place. One that no host has room for is made in error, as the API's clients expect.

    Raises Invalid and NotFound for what its sender can mend, OverQuota.
    """
    source, least_gb = _source_of(tx, context, draft)
    size_gb = draft.size_gb or least_gb
    check_size(size_gb)
    kind = _type_of(tx, context, draft, source)
    check_source(tx, source, kind.id)
    if draft.availability_zone not in ("", DEFAULT_ZONE):
        raise Invalid(f"Invalid input received: Availability zone '{draft.availability_zone}' is invalid.")
    image = _usable_image(tx, context, draft.image_id, size_gb) if draft.image_id else None
    image_metadata = _image_metadata(image) if image else dict(source.image_metadata) if source else {}
    check_new_volume(tx, context, kind, size_gb)
    volume = Volume(
        id=context.new_id(),
        project_id=context.project_id,
        user_id=context.user_id,
        name=draft.name,
        description=draft.description,
        size_gb=size_gb,
        wished_size_gb=size_gb,
        status=VolumeStatus.CREATING,
        built=False,
        reserved=False,
        deleting=False,
        fault="",
        host_id="",
        availability_zone=DEFAULT_ZONE,
        volume_type_id=kind.id,
        bootable=bool(image_metadata) or bool(source and source.bootable),
        metadata=dict(draft.metadata),
        image_id=draft.image_id,
        image_metadata=image_metadata,
        source_volume_id=draft.source_volume_id or (source.id if source else ""),
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
        backend="",
        wished_backend=backend_of(kind),
        snapshot_id=draft.snapshot_id,
        limits=_limits_of(tx, kind, size_gb),
    )
    host_id = draft.host_id or (source.host_id if source else "")
    volume = _place(tx, context, engine, volume, [host_id] if host_id else None)
    VOLUMES.insert(tx, volume)
    give_key(tx, context, volume, source, draft.sealed_key)
    if volume.host_id:
        if volume.image_id:
            hold_image(tx, volume.host_id, volume.image_id, volume.id)
        wish_volume(tx, volume)
        start_saga(tx, context.new_id(), "volume.create", volume.id, {}, context.now_us)
    return VolumeDetails(volume, [], kind.name, _host_name(tx, volume.host_id), find_key(tx, volume.id))


def _place(tx: Tx, context: Context, engine: PlacementEngine, volume: Volume, only_hosts: list[str] | None) -> Volume:
    """The volume with its host, or with the reason why there is none."""
    request = HostRequest(
        resources={"DISK_GB": volume.wished_size_gb}, required=_traits(volume.wished_backend), only_hosts=only_hosts
    )
    owner = Owner(volume.id, volume.project_id, volume.user_id, "VOLUME")
    seed = context.rng.getrandbits(32)
    try:
        host_id = claim_host(tx, engine, request, owner, seed=seed, now_us=context.now_us)
    except NoCapacity as error:
        volume = msgspec.structs.replace(volume, fault=error.message)
        return msgspec.structs.replace(volume, status=status_of(volume))
    return msgspec.structs.replace(volume, host_id=host_id)


def _host_name(tx: Tx, host_id: str) -> str:
    host = HOSTS.find(tx, id=host_id) if host_id else None
    return host.name if host else ""


def get_volume(tx: Tx, context: Context, volume_id: str) -> VolumeDetails:
    """One volume of whoever asks. Raises NotFound."""
    return add_details(tx, [get_own_volume(tx, context, volume_id)])[0]


def get_volume_key(tx: Tx, context: Context, volume_id: str) -> VolumeKey | None:
    """How a volume of whoever asks is encrypted, None when it isn't. Raises NotFound."""
    return find_key(tx, get_own_volume(tx, context, volume_id).id)


def add_details(tx: Tx, volumes: list[Volume]) -> list[VolumeDetails]:
    """Volumes with what is shown beside them, in a fixed number of statements."""
    if not volumes:
        return []
    types = {row.id: row.name for row in VOLUME_TYPES.list(tx)}
    hosts = {row.id: row.name for row in HOSTS.list(tx, id=list({v.host_id for v in volumes}))}
    attachments: dict[str, list[Attachment]] = {}
    for row in ATTACHMENTS.list(tx, volume_id=[v.id for v in volumes], order="created_at_us, id"):
        attachments.setdefault(row.volume_id, []).append(row)
    keys = VOLUME_KEYS.by_key(VOLUME_KEYS.list(tx, volume_id=[v.id for v in volumes]))
    return [
        VolumeDetails(
            v, attachments.get(v.id, []), types.get(v.volume_type_id, ""), hosts.get(v.host_id, ""), keys.get(v.id)
        )
        for v in volumes
    ]


def scope(context: Context, *, all_tenants: bool) -> list[Filter | Where]:
    """Whose volumes a list shows."""
    return [] if all_tenants and context.is_admin else [Filter("project_id", context.project_id)]


def list_volumes(tx: Tx, context: Context, page: Page, *, all_tenants: bool = False) -> list[VolumeDetails]:
    """A page of volumes."""
    return add_details(tx, list_page(tx, VOLUMES, page.with_filters(*scope(context, all_tenants=all_tenants))))


def count_volumes(tx: Tx, context: Context, *, all_tenants: bool = False) -> tuple[int, int]:
    """(number, GB) of the volumes of whoever asks."""
    return count_sizes(tx, None if all_tenants and context.is_admin else context.project_id)


def update_volume(tx: Tx, context: Context, volume_id: str, changes: dict[str, object]) -> VolumeDetails:
    """Change name, description, metadata or bootable. Raises NotFound."""
    get_own_volume(tx, context, volume_id)
    if changes:
        VOLUMES.update(tx, volume_id, **changes, updated_at_us=context.now_us)
    return get_volume(tx, context, volume_id)


def delete_volume(tx: Tx, context: Context, volume_id: str, *, force: bool = False, cascade: bool = False) -> None:
    """Wish the volume gone, and with ``cascade`` its snapshots. One that is going already stays so.

    Raises NotFound, and Invalid for one that is in use or has snapshots that shall stay.
    """
    volume = get_own_volume(tx, context, volume_id)
    if volume.status is VolumeStatus.DELETING:
        return
    plugged = ATTACHMENTS.count(tx, volume_id=volume_id) if force else 0
    kept = 0 if cascade else SNAPSHOTS.count(tx, volume_id=volume_id, deleting=False)
    if plugged or kept or (not force and volume.status not in DELETABLE):
        raise Invalid(
            "Invalid volume: Volume status must be available or error or error_restoring or error_extending or "
            "error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a "
            "transfer, or be disassociated from snapshots after volume transfer."
        )
    if VOLUMES.count(tx, source_volume_id=volume_id, built=False, fault=""):
        raise Invalid(f"Invalid volume: Volume {volume_id} is being copied.")
    if cascade:
        delete_snapshots_of(tx, context, volume_id)
    _begin_delete(tx, volume, context.new_id(), context.now_us)


def delete_with_server(tx: Tx, volume_id: str, saga_id: str, now_us: int) -> None:
    """Wish a volume gone that was to go with its server, which has let go of it. Idempotent.

    One that somebody else has, or copies from, or makes an image of, or that has snapshots, stays: it is available then.
    """
    volume = VOLUMES.find(tx, id=volume_id)
    if volume is None or volume.deleting or ATTACHMENTS.count(tx, volume_id=volume_id):
        return
    if VOLUMES.count(tx, source_volume_id=volume_id, built=False, fault=""):
        return
    if SNAPSHOTS.count(tx, volume_id=volume_id, deleting=False) or VOLUME_UPLOADS.count(tx, volume_id=volume_id):
        return
    _begin_delete(tx, volume, saga_id, now_us)


def _begin_delete(tx: Tx, volume: Volume, saga_id: str, now_us: int) -> None:
    if not volume.host_id:
        forget_volume(tx, volume.id, now_us)
        return
    VOLUMES.update(tx, volume.id, deleting=True, fault="")
    refresh_status(tx, volume.id, now_us)
    wish_no_volume(tx, volume)
    poke_sagas(tx, [upload.id for upload in VOLUME_UPLOADS.list(tx, volume_id=volume.id)])
    start_saga(tx, saga_id, "volume.delete", volume.id, {}, now_us)


def extend_volume(
    tx: Tx, context: Context, engine: PlacementEngine, volume_id: str, size_gb: int, *, online: bool
) -> None:
    """Make a volume larger; one that is plugged in only where the client knows of that (``online``). Raises NotFound, Invalid."""
    volume = get_own_volume(tx, context, volume_id)
    allowed = {VolumeStatus.AVAILABLE, VolumeStatus.IN_USE} if online else {VolumeStatus.AVAILABLE}
    if volume.status not in allowed:
        raise Invalid(
            f"Invalid volume: Volume {volume_id} status must be '{' or '.join(sorted(allowed))}' to extend, "
            f"currently {volume.status}."
        )
    check_size(size_gb)
    if size_gb <= volume.size_gb:
        raise Invalid(
            f"Invalid input received: New size for extend must be greater than current size. "
            f"(current: {volume.size_gb}, extended: {size_gb})."
        )
    more = {"DISK_GB": size_gb - volume.wished_size_gb}
    check_extension(tx, context, volume.project_id, volume.volume_type_id, size_gb, more["DISK_GB"])
    if not grow_claim(tx, engine, volume_id, volume.host_id, more, context.now_us):
        raise QuotaExceeded(f"The volume's host has no room for {more['DISK_GB']} GB more.")
    VOLUMES.update(tx, volume_id, wished_size_gb=size_gb)
    changed = refresh_status(tx, volume_id, context.now_us)
    assert changed is not None
    wish_volume(tx, changed)
    start_saga(tx, context.new_id(), "volume.extend", volume_id, {}, context.now_us)


def retype_volume(tx: Tx, context: Context, volume_id: str, new_type: str, *, may_move: bool) -> None:
    """Give a volume another type, and have it moved if that means another kind of storage. Raises NotFound, Invalid."""
    volume = get_own_volume(tx, context, volume_id)
    kind = get_type(tx, context, new_type)
    if volume.status not in (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE):
        raise Invalid(
            f"Invalid volume: Volume {volume_id} status must be available or in-use to retype, but it is {volume.status}."
        )
    if kind.id == volume.volume_type_id:
        raise Invalid(f"Invalid input received: Volume {volume_id} is of type {kind.name} already.")
    check_source(tx, volume, kind.id)
    _check_retype_in_use(tx, volume, kind)
    backend = backend_of(kind)
    if backend != volume.wished_backend:
        if SNAPSHOTS.count(tx, volume_id=volume_id):
            raise Invalid(f"Invalid volume: Volume {volume_id} has snapshots and can't be moved to another storage.")
        if not may_move:
            raise Invalid("Invalid input received: Retype requires migration but is not allowed.")
        if backend != LOCAL and storage_trait(backend) not in PROVIDER_TRAITS.of(tx, volume.host_id):
            raise Invalid(f"Invalid input received: the volume's host has no access to {backend}.")
    check_retype(tx, context, volume.project_id, kind, volume.wished_size_gb)
    limits = _limits_of(tx, kind, volume.size_gb)
    VOLUMES.update(tx, volume_id, volume_type_id=kind.id, wished_backend=backend, limits=limits)
    changed = refresh_status(tx, volume_id, context.now_us)
    assert changed is not None, "it was found just now"
    wish_volume(tx, changed)
    if backend != volume.wished_backend:
        old_type = {"type_id": volume.volume_type_id}
        start_saga(tx, context.new_id(), "volume.retype", volume_id, old_type, context.now_us)


def _check_retype_in_use(tx: Tx, volume: Volume, kind: VolumeType) -> None:
    """Raise Invalid when a volume that is plugged in would have to be moved, or be held to other limits by the hypervisor."""
    if volume.status is VolumeStatus.AVAILABLE:
        return
    if backend_of(kind) != volume.wished_backend:
        raise Invalid(f"Invalid volume: Volume {volume.id} is in use and can't be moved to another storage.")
    old, new = qos_of(tx, VOLUME_TYPES.get(tx, volume.volume_type_id)), qos_of(tx, kind)
    held = [front_end_limits(qos.consumer, qos.specs, volume.size_gb) if qos else {} for qos in (old, new)]
    if held[0] != held[1]:
        raise Invalid("Invalid input received: Retype cannot change front-end qos specs for in-use volume.")


def reset_status(tx: Tx, context: Context, volume_id: str, status: str) -> None:
    """An administrator says that a volume is well again, or isn't. Only what no host has to do anything for can be said."""
    volume = get_own_volume(tx, context, volume_id)
    if status == VolumeStatus.ERROR:
        VOLUMES.update(tx, volume_id, fault="Set by an administrator.")
    elif status == VolumeStatus.AVAILABLE and volume.built and not volume.deleting:
        VOLUMES.update(tx, volume_id, fault="", reserved=False, wished_size_gb=volume.size_gb)
        if volume.wished_size_gb > volume.size_gb:
            less = {"DISK_GB": volume.wished_size_gb - volume.size_gb}
            shrink_claim(tx, volume_id, volume.host_id, less, context.now_us)
        _give_up_uploads(tx, volume_id)
        forget_revert(tx, volume, context.now_us)
        wish_volume(tx, VOLUMES.get(tx, volume_id))
    else:
        raise Invalid(f"Invalid input received: volume {volume_id} is {volume.status} and can't be set to {status}.")
    refresh_status(tx, volume_id, context.now_us)


def _give_up_uploads(tx: Tx, volume_id: str) -> None:
    """No image is to be made of the volume any more; it is uploading until the sagas have heard of that."""
    uploads = [upload.id for upload in VOLUME_UPLOADS.list(tx, volume_id=volume_id)]
    VOLUME_UPLOADS.update_where(tx, {"fault": "An administrator has reset the volume."}, volume_id=volume_id)
    poke_sagas(tx, uploads)


def settle_volume(tx: Tx, host_id: str, report: Report, now_us: int) -> None:
    """A host has reported on a volume: ``built`` and ``size_gb`` follow what it found, ``fault`` what it gave up on."""
    volume = VOLUMES.find(tx, id=report.id, host_id=host_id)
    if volume is None:
        return
    changes: dict[str, object] = {}
    if report.phase is Phase.READY and not volume.deleting:
        if not volume.built:
            changes["built"] = True
        size_gb = min(report.size_gb, volume.wished_size_gb)
        if size_gb > volume.size_gb:
            changes["size_gb"] = size_gb
        backend = report.backend or LOCAL
        if backend != volume.backend:
            changes["backend"] = backend
    elif report.phase is Phase.FAILED and find_generation(tx, host_id, Noun.VOLUME, volume.id) == report.generation:
        changes["fault"] = report.reason or "The host gave up."
        # A server that is being made may be waiting for it.
        poke_sagas(tx, [attachment.server_id for attachment in ATTACHMENTS.list(tx, volume_id=volume.id)])
    if changes:
        VOLUMES.update(tx, volume.id, **changes)
        refresh_status(tx, volume.id, now_us)
