"""Attachments: the seam to servers, and what the API tells of them.

Compute reserves a volume in the transaction that wishes it plugged in, says so when the host has reported it plugged, begins to
detach, and releases it when the host has reported it gone. A volume on one host's disks can only be had by a server on that host; one in Ceph
is lent to the server's host, which needs to have that Ceph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound
from ostro.model.qos import front_end_limits
from ostro.model.volumes import LOCAL, AttachmentStatus, VolumeStatus, storage_trait
from ostro.services.block.status import refresh_status
from ostro.services.block.types import qos_of
from ostro.services.block.wishes import lend_volume, take_back_volume
from ostro.store.attachments import ATTACHMENTS, Attachment
from ostro.store.block_devices import BLOCK_DEVICES
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.providers import PROVIDER_TRAITS
from ostro.store.volume_types import VOLUME_TYPES
from ostro.store.volumes import VOLUMES, Volume


def get_own_volume(tx: Tx, context: Context, volume_id: str) -> Volume:
    """The volume if it belongs to whoever asks. Raises NotFound."""
    volume = VOLUMES.find(tx, id=volume_id)
    if volume is None or not (context.is_admin or volume.project_id == context.project_id):
        raise NotFound("volume", volume_id)
    return volume


def reserve(
    tx: Tx, context: Context, volume_id: str, server_id: str, device: str, host_id: str, *, new: bool = False
) -> Attachment:
    """Take an available volume for a server on ``host_id``; it is ``attaching`` from now on. A ``new`` one may still be in the making.

    ``device`` is the path in the guest (``/dev/vdb``). Raises NotFound, and Invalid when the volume is in another state or on another host.
    """
    volume = get_own_volume(tx, context, volume_id)
    if volume.status is not VolumeStatus.AVAILABLE and not (new and volume.status is VolumeStatus.CREATING):
        raise Invalid(
            f"Invalid volume: Volume {volume_id} status must be available or downloading to reserve, "
            f"but the current status is {volume.status}."
        )
    check_reachable(tx, volume, server_id, host_id)
    attachment = Attachment(
        id=context.new_id(),
        volume_id=volume_id,
        project_id=volume.project_id,
        server_id=server_id,
        host_id=host_id,
        device=device,
        mode="rw",
        status=AttachmentStatus.ATTACHING,
        connector={},
        created_at_us=context.now_us,
        attached_at_us=0,
        limits=_limits_of(tx, volume),
    )
    ATTACHMENTS.insert(tx, attachment)
    lend_volume(tx, volume, host_id)
    refresh_status(tx, volume_id, context.now_us)
    return attachment


def _limits_of(tx: Tx, volume: Volume) -> dict[str, int]:
    """What the hypervisor shall hold the volume to."""
    qos = qos_of(tx, VOLUME_TYPES.get(tx, volume.volume_type_id))
    return front_end_limits(qos.consumer, qos.specs, volume.size_gb) if qos else {}


def check_reachable(tx: Tx, volume: Volume, server_id: str, host_id: str) -> None:
    """Raise Invalid unless a server on the host can have the volume."""
    if volume.host_id == host_id:
        return
    if not is_shared(volume):
        raise Invalid(
            f"Invalid volume: Volume {volume.id} is on the disks of another host than server {server_id}; "
            "a local volume can only be attached to a server on its own host."
        )
    if storage_trait(volume.wished_backend) not in PROVIDER_TRAITS.of(tx, host_id):
        raise Invalid(f"Invalid volume: the host of server {server_id} has no access to {volume.wished_backend}.")


def is_shared(volume: Volume) -> bool:
    """Whether the volume is in storage that hosts share."""
    return volume.wished_backend != LOCAL


def mark_attached(tx: Tx, server_id: str, volume_ids: Collection[str], now_us: int) -> None:
    """The server's host has reported these volumes plugged in. Idempotent; others of the server stay as they are."""
    for attachment in ATTACHMENTS.list(tx, server_id=server_id, status=AttachmentStatus.ATTACHING):
        if attachment.volume_id in volume_ids:
            ATTACHMENTS.update(tx, attachment.id, status=AttachmentStatus.ATTACHED, attached_at_us=now_us)
            refresh_status(tx, attachment.volume_id, now_us)


def begin_detach(tx: Tx, volume_id: str, server_id: str, now_us: int) -> Attachment:
    """The volume shall be unplugged. Raises NotFound when it isn't the server's, Invalid when it isn't plugged in."""
    attachment = ATTACHMENTS.find(tx, volume_id=volume_id, server_id=server_id)
    if attachment is None:
        raise NotFound("attachment", volume_id, f"volume_id not found: {volume_id}")
    if attachment.status is not AttachmentStatus.ATTACHED:
        raise Invalid(
            f"Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must "
            f"be 'attached' to detach; the attachment is {attachment.status}."
        )
    ATTACHMENTS.update(tx, attachment.id, status=AttachmentStatus.DETACHING)
    refresh_status(tx, volume_id, now_us)
    return attachment


def release(tx: Tx, volume_id: str, server_id: str, now_us: int) -> None:
    """The volume is no longer plugged in, or never will be. Idempotent."""
    found = ATTACHMENTS.find(tx, volume_id=volume_id, server_id=server_id)
    if found is None:
        return
    ATTACHMENTS.delete(tx, found.id)
    volume = refresh_status(tx, volume_id, now_us)
    if volume is not None and not ATTACHMENTS.count(tx, volume_id=volume_id, host_id=found.host_id):
        take_back_volume(tx, volume, found.host_id)


def list_server_volumes(tx: Tx, server_ids: Iterable[str]) -> dict[str, list[Attachment]]:
    """Every attachment of these servers, by server, in the order of attaching."""
    out: dict[str, list[Attachment]] = {server_id: [] for server_id in server_ids}
    for attachment in ATTACHMENTS.list(tx, server_id=list(out), order="created_at_us, device, id"):
        out[attachment.server_id].append(attachment)
    return out


# ---- what the API does by hand -------------------------------------------------------------------------------------


def _need(volume: Volume, *statuses: VolumeStatus) -> None:
    if volume.status not in statuses:
        wanted = " or ".join(statuses)
        raise Invalid(f"Invalid volume: Volume {volume.id} status must be {wanted}, but it is {volume.status}.")


def _check_by_hand(tx: Tx, attachments: Iterable[Attachment]) -> None:
    """Raise Conflict for an attachment of Compute's: the volume is in a server, whatever is noted here (CVE-2023-2088)."""
    for attachment in attachments:
        if BLOCK_DEVICES.find(tx, server_id=attachment.server_id, attachment_id=attachment.id) is not None:
            raise Conflict(f"Detach volume from instance {attachment.server_id} using the Compute API")


def set_reserved(tx: Tx, context: Context, volume_id: str, *, reserved: bool) -> None:
    """Keep an available volume for somebody, or let it go. Raises NotFound, Invalid."""
    volume = get_own_volume(tx, context, volume_id)
    _need(volume, VolumeStatus.AVAILABLE if reserved else VolumeStatus.RESERVED)
    VOLUMES.update(tx, volume_id, reserved=reserved)
    refresh_status(tx, volume_id, context.now_us)


def _new_attachment(context: Context, volume: Volume, server_id: str, status: AttachmentStatus) -> Attachment:
    return Attachment(
        id=context.new_id(),
        volume_id=volume.id,
        project_id=volume.project_id,
        server_id=server_id,
        host_id=volume.host_id,
        device="",
        mode="rw",
        status=status,
        connector={},
        created_at_us=context.now_us,
        attached_at_us=0,
    )


def attach_by_hand(tx: Tx, context: Context, volume_id: str, server_id: str, device: str) -> None:
    """Note that a volume is attached. Raises NotFound, Invalid."""
    volume = get_own_volume(tx, context, volume_id)
    _need(volume, VolumeStatus.AVAILABLE, VolumeStatus.RESERVED)
    attachment = _new_attachment(context, volume, server_id, AttachmentStatus.ATTACHED)
    ATTACHMENTS.insert(tx, msgspec.structs.replace(attachment, device=device, attached_at_us=context.now_us))
    VOLUMES.update(tx, volume_id, reserved=False)
    refresh_status(tx, volume_id, context.now_us)


def set_detaching(tx: Tx, context: Context, volume_id: str, *, detaching: bool) -> None:
    """Note that a detach has begun, or was given up. Raises NotFound, Invalid, Conflict for a volume that Compute plugged in."""
    volume = get_own_volume(tx, context, volume_id)
    before, after = AttachmentStatus.ATTACHED, AttachmentStatus.DETACHING
    if not detaching:
        before, after = after, before
    _need(volume, VolumeStatus.IN_USE if detaching else VolumeStatus.DETACHING)
    _check_by_hand(tx, ATTACHMENTS.list(tx, volume_id=volume_id))
    ATTACHMENTS.update_where(tx, {"status": after}, volume_id=volume_id, status=before)
    refresh_status(tx, volume_id, context.now_us)


def detach_by_hand(tx: Tx, context: Context, volume_id: str, attachment_id: str) -> None:
    """Note that a volume is detached; nothing to detach is fine. Raises NotFound, Conflict for one that Compute plugged in."""
    get_own_volume(tx, context, volume_id)
    conditions: dict[str, Any] = {"id": attachment_id} if attachment_id else {}
    _check_by_hand(tx, ATTACHMENTS.list(tx, volume_id=volume_id, **conditions))
    ATTACHMENTS.delete_where(tx, volume_id=volume_id, **conditions)
    refresh_status(tx, volume_id, context.now_us)


def create_attachment(tx: Tx, context: Context, volume_id: str, server_id: str, mode: str) -> Attachment:
    """Reserve a volume for a server that the client looks after itself. Raises NotFound, Invalid."""
    volume = get_own_volume(tx, context, volume_id)
    _need(volume, VolumeStatus.AVAILABLE, VolumeStatus.RESERVED)
    attachment = _new_attachment(context, volume, server_id, AttachmentStatus.RESERVED)
    attachment = ATTACHMENTS.insert(tx, msgspec.structs.replace(attachment, mode=mode))
    VOLUMES.update(tx, volume_id, reserved=False)
    refresh_status(tx, volume_id, context.now_us)
    return attachment


def get_attachment(tx: Tx, context: Context, attachment_id: str) -> Attachment:
    """An attachment of whoever asks. Raises NotFound."""
    found = ATTACHMENTS.find(tx, id=attachment_id)
    if found is None or not (context.is_admin or found.project_id == context.project_id):
        raise NotFound(
            "attachment", attachment_id, f"Volume attachment could not be found with filter: {attachment_id}."
        )
    return found


def list_attachments(tx: Tx, context: Context, page: Page, *, all_tenants: bool = False) -> list[Attachment]:
    """A page of attachments."""
    if not (all_tenants and context.is_admin):
        page = page.with_filters(Filter("project_id", context.project_id))
    return list_page(tx, ATTACHMENTS, page)


def set_connector(tx: Tx, context: Context, attachment_id: str, connector: dict[str, str]) -> Attachment:
    """The client says where it will attach to. Raises NotFound, Conflict, Invalid for one that is attached already."""
    found = get_attachment(tx, context, attachment_id)
    _check_by_hand(tx, [found])
    if found.status not in (AttachmentStatus.RESERVED, AttachmentStatus.ATTACHING):
        raise Invalid(f"Invalid volume: attachment {attachment_id} is {found.status}.")
    ATTACHMENTS.update(tx, attachment_id, connector=connector, status=AttachmentStatus.ATTACHING)
    refresh_status(tx, found.volume_id, context.now_us)
    return get_attachment(tx, context, attachment_id)


def complete_attachment(tx: Tx, context: Context, attachment_id: str) -> None:
    """The client has attached the volume. Raises NotFound, Conflict, Invalid."""
    found = get_attachment(tx, context, attachment_id)
    _check_by_hand(tx, [found])
    if found.status is not AttachmentStatus.ATTACHING:
        raise Invalid(f"Invalid volume: attachment {attachment_id} must be attaching, but it is {found.status}.")
    ATTACHMENTS.update(tx, attachment_id, status=AttachmentStatus.ATTACHED, attached_at_us=context.now_us)
    refresh_status(tx, found.volume_id, context.now_us)


def delete_attachment(tx: Tx, context: Context, attachment_id: str) -> list[Attachment]:
    """The client has detached the volume; what attachments it has left. Raises NotFound, Conflict."""
    found = get_attachment(tx, context, attachment_id)
    _check_by_hand(tx, [found])
    ATTACHMENTS.delete(tx, attachment_id)
    refresh_status(tx, found.volume_id, context.now_us)
    return ATTACHMENTS.list(tx, volume_id=found.volume_id)
