"""Volumes of servers: plugged in at the start or later, and pulled out.

The block service owns a volume's attachment and its status; Compute owns what the server's host is wished, and the few things
that only Compute knows of the pair (``block_devices``). An attachment is done when the host reports the volume plugged in,
a detachment when it no longer does: see ``servers.settle_server``.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NoCapacity, NotFound, QuotaExceeded
from ostro.services.block.attachments import begin_detach, get_own_volume, reserve
from ostro.services.block.quotas import OverQuota
from ostro.services.block.snapshots import get_snapshot
from ostro.services.block.volumes import VolumeDraft, check_draft, create_volume
from ostro.services.block.volumes import needs_of as volume_needs
from ostro.services.compute.instance_actions import record_action
from ostro.services.compute.servers import READY_STATES, change_wish, lock_free, require_state
from ostro.services.compute.visibility import get_server
from ostro.services.placement.claims import shrink_claim
from ostro.services.placement.engine import PlacementEngine
from ostro.store.block_devices import BLOCK_DEVICES, BlockDevice
from ostro.store.database import Tx
from ostro.store.servers import SERVERS, Server
from ostro.store.volumes import VOLUMES

ROOT_DEVICE = "/dev/vda"
DEVICES = tuple(f"/dev/vd{letter}" for letter in string.ascii_lowercase[1:])
"""25 besides the root disk: what a virtual machine's root ports have room for."""


class VolumeSource(msgspec.Struct, frozen=True):
    """A volume as a server to be created names it. ``boot_index`` 0 is the one to boot from.

    One that is still to be made has a ``draft`` and no ``volume_id``.
    """

    volume_id: str
    boot_index: int = -1
    device: str = ""
    delete_on_termination: bool = False
    tag: str | None = None
    draft: VolumeDraft | None = None


def check_sources(tx: Tx, context: Context, sources: Sequence[VolumeSource]) -> VolumeSource | None:
    """The one to boot from, if there is one. Raises Invalid for a volume that isn't there or can't be booted from."""
    root: VolumeSource | None = None
    for source in sources:
        if source.draft is not None:
            _check_draft(tx, context, source.draft, boots=source.boot_index == 0)
        else:
            try:
                volume = get_own_volume(tx, context, source.volume_id)
            except NotFound as error:
                raise Invalid(f"Block Device Mapping is Invalid: failed to get volume {source.volume_id}.") from error
            if source.boot_index == 0 and not volume.bootable:
                raise Invalid(f"Block Device {volume.id} is not bootable.")
        if source.boot_index == 0:
            root = source
    return root


def _check_draft(tx: Tx, context: Context, draft: VolumeDraft, *, boots: bool) -> None:
    if draft.snapshot_id:
        try:
            snapshot = get_snapshot(tx, context, draft.snapshot_id)
        except NotFound as error:
            words = f"Block Device Mapping is Invalid: failed to get snapshot {draft.snapshot_id}."
            raise Invalid(words) from error
        if boots and not VOLUMES.get(tx, snapshot.volume_id).bootable:
            raise Invalid(f"Block Device {snapshot.volume_id} is not bootable.")
    check_draft(tx, context, draft)


def needs_of(tx: Tx, context: Context, sources: Sequence[VolumeSource]) -> tuple[int, list[str], set[str]]:
    """(GB, traits, hosts) so that the volumes still to be made can be made there: no hosts means any, more than one that there is none."""
    total_gb, traits, hosts = 0, set[str](), set[str]()
    for source in sources:
        if source.draft is not None:
            size_gb, needed, host_id = volume_needs(tx, context, source.draft)
            total_gb += size_gb
            traits.update(needed)
            hosts.update((host_id,) if host_id else ())
    return total_gb, sorted(traits), hosts


def plug_at_start(
    tx: Tx, context: Context, engine: PlacementEngine, server: Server, sources: Sequence[VolumeSource]
) -> Server:
    """Reserve the volumes of a server that is being created, and make those that are still to be made, on its host.

    The host has been claimed with room for them, which goes over from the server to the volumes.
    """
    total_gb, _, _ = needs_of(tx, context, sources)
    if total_gb:
        shrink_claim(tx, server.id, server.host_id, {"DISK_GB": total_gb}, context.now_us)
    for source in sources:
        if source.draft is not None:
            draft = msgspec.structs.replace(source.draft, host_id=server.host_id)
            try:
                made = create_volume(tx, context, engine, draft).volume
            except OverQuota as error:
                raise QuotaExceeded(error.message) from error
            if not made.host_id:
                raise NoCapacity(f"Block Device Mapping is Invalid: {made.fault}")
            source = msgspec.structs.replace(source, volume_id=made.id)
        _plug(tx, context, server, source, _device_at_start(tx, server, source))
        if source.boot_index == 0:
            SERVERS.update(tx, server.id, root_volume_id=source.volume_id)
            server = msgspec.structs.replace(server, root_volume_id=source.volume_id)
    return server


def _device_at_start(tx: Tx, server: Server, source: VolumeSource) -> str:
    """The device name of a volume plugged in from the start, empty for any that is free. As with Nova's libvirt driver a name that
    doesn't fit is only a hint: the first disk is vda, and there are no others than virtio disks."""
    if source.boot_index == 0:
        return ROOT_DEVICE
    taken = BLOCK_DEVICES.find(tx, server_id=server.id, device=source.device) is not None
    return source.device if source.device in DEVICES and not taken else ""


def find_broken_volume(tx: Tx, server_id: str) -> str:
    """Why a volume that the server waits for will never be made; empty when there is none such."""
    for device in BLOCK_DEVICES.list(tx, server_id=server_id):
        volume = VOLUMES.find(tx, id=device.volume_id)
        if volume is not None and not volume.built and volume.fault:
            return f"Build of instance {server_id} aborted: Volume {volume.id} did not finish being created: {volume.fault}"
    return ""


def _plug(tx: Tx, context: Context, server: Server, source: VolumeSource, device: str) -> BlockDevice:
    """Reserve a volume for the server under a free device name."""
    taken = {d.device for d in BLOCK_DEVICES.list(tx, server_id=server.id)}
    chosen = device or next((name for name in DEVICES if name not in taken), "")
    if not chosen:
        raise Forbidden(f"The maximum allowed number of disk devices ({len(DEVICES)}) to attach has been exceeded.")
    if chosen in taken:
        raise Conflict(f"The supplied device path ({chosen}) is in use.")
    new = source.draft is not None
    attachment = reserve(tx, context, source.volume_id, server.id, chosen, server.host_id, new=new)
    return BLOCK_DEVICES.insert(
        tx,
        BlockDevice(
            id=context.new_id(),
            server_id=server.id,
            volume_id=source.volume_id,
            attachment_id=attachment.id,
            device=chosen,
            boot_index=source.boot_index,
            delete_on_termination=source.delete_on_termination,
            tag=source.tag,
            created_at_us=context.now_us,
        ),
    )


def attach_volume(tx: Tx, context: Context, server_id: str, source: VolumeSource) -> BlockDevice:
    """Have a volume plugged into a server. Raises NotFound, Conflict by the server's state, Invalid by the volume's."""
    server = get_server(tx, context, server_id)
    lock_free(context, server)
    require_state(server, "attach_volume", READY_STATES)
    if not server.host_id:
        raise Conflict(f"Instance {server_id} is not ready")
    if source.device and source.device not in DEVICES:
        raise Invalid(f"The supplied device path ({source.device}) is invalid.")
    device = _plug(tx, context, server, source, source.device)
    record_action(tx, context, server, "attach_volume")
    change_wish(tx, server, context.now_us)
    return device


def find_device(tx: Tx, context: Context, server_id: str, volume_id: str) -> BlockDevice:
    """A volume of a server. Raises NotFound."""
    get_server(tx, context, server_id)
    device = BLOCK_DEVICES.find(tx, server_id=server_id, volume_id=volume_id)
    if device is None:
        raise NotFound(
            "volume attachment",
            volume_id,
            f"Instance {server_id} is not attached to volume {volume_id}",
        )
    return device


def list_devices(tx: Tx, context: Context, server_id: str) -> list[BlockDevice]:
    """The volumes of a server, in the order of attaching."""
    get_server(tx, context, server_id)
    return BLOCK_DEVICES.list(tx, server_id=server_id, order="created_at_us, device")


def update_device(
    tx: Tx, context: Context, server_id: str, volume_id: str, *, delete_on_termination: bool
) -> BlockDevice:
    """Change whether the volume goes with the server."""
    device = find_device(tx, context, server_id, volume_id)
    BLOCK_DEVICES.update(tx, device.id, delete_on_termination=delete_on_termination)
    return msgspec.structs.replace(device, delete_on_termination=delete_on_termination)


def detach_volume(tx: Tx, context: Context, server_id: str, volume_id: str) -> None:
    """Have a volume pulled out of a server. Raises NotFound, Forbidden for the root volume, Conflict, Invalid."""
    server = get_server(tx, context, server_id)
    device = find_device(tx, context, server_id, volume_id)
    lock_free(context, server)
    require_state(server, "detach_volume", READY_STATES)
    if device.boot_index == 0:
        raise Forbidden("Cannot detach a root device volume")
    begin_detach(tx, volume_id, server_id, context.now_us)
    record_action(tx, context, server, "detach_volume")
    change_wish(tx, server, context.now_us)
