"""The blocking calls to libvirt, one plain function each. They run in `Connection`'s workers.

Each takes the connection and the id of our cloud first; a domain of another cloud, or of nobody's, is as good as absent.
Any may raise ``libvirt.libvirtError`` besides what it says, which `Connection` turns into an error of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import libvirt

from ostro.agent.drivers.hypervisor import Disk, Domain, Memo, Nic, Progress, find_root_backend
from ostro.agent.drivers.hypervisor.domain_xml import (
    TAG_NAME,
    TAG_URI,
    Landing,
    disk_xml,
    domain_name,
    has_odd_ram,
    moved_xml,
    nic_xml,
    read_disks,
    read_nics,
    read_tag,
    secret_xml,
    tag_xml,
    volume_secret_xml,
)
from ostro.model.errors import Conflict, NotFound
from ostro.model.wishes import Power

LONGEST_PAUSE_MS = 2_000_000
"""The most that QEMU takes."""

_COMING = (
    libvirt.VIR_DOMAIN_PAUSED_UNKNOWN,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY,
)
"""Why a domain stands still that another host is sending: its process starts, then waits."""

_POWER = {
    libvirt.VIR_DOMAIN_RUNNING: Power.ON,
    libvirt.VIR_DOMAIN_BLOCKED: Power.ON,
    libvirt.VIR_DOMAIN_SHUTDOWN: Power.ON,
    libvirt.VIR_DOMAIN_PAUSED: Power.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: Power.OFF,
    libvirt.VIR_DOMAIN_CRASHED: Power.CRASHED,
}


def list_ours(connection: libvirt.virConnect, cloud_id: str, sending: Collection[str] = ()) -> list[Domain]:
    """All of them. One call tells the state of every domain, and then each costs one for its inactive definition, and one for the other if it runs."""
    found = []
    for handle, stats in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE):
        if not handle.name().startswith(domain_name("")):
            continue
        try:
            domain = _read(handle, cloud_id, sending, (stats["state.state"], stats["state.reason"]))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            continue
        if domain is not None:
            found.append(domain)
    return sorted(found, key=lambda domain: domain.server_id)


def find(connection: libvirt.virConnect, cloud_id: str, server_id: str, sending: Collection[str] = ()) -> Domain | None:
    handle = _lookup(connection, server_id)
    return None if handle is None else _read(handle, cloud_id, sending)


def _lookup(connection: libvirt.virConnect, server_id: str) -> libvirt.virDomain | None:
    try:
        return connection.lookupByUUIDString(server_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _read(
    handle: libvirt.virDomain, cloud_id: str, sending: Collection[str], known: Sequence[int] | None = None
) -> Domain | None:
    """The domain as our struct, None when it isn't ours. ``known`` is its state and the reason for it, if that has been asked for."""
    saved = handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    tag = read_tag(saved)
    if tag is None or tag[0] != cloud_id:
        return None
    server_id = handle.UUIDString()
    # Only what bears the mark of a migration of ours needs a look, and that before its state, which changes before a migration is over: a guest that
    # has gone must not be found to run here with nothing under way.
    is_under_way = server_id in sending or (bool(tag[2].move) and _is_moving(handle))
    state, reason = known if known is not None and not tag[2].move else handle.state()
    power = _POWER.get(state, Power.UNKNOWN)
    if power is Power.OFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
        power = Power.CRASHED
    disks, nics = read_disks(saved), set(read_nics(saved))
    if power in (Power.ON, Power.PAUSED):
        live = handle.XMLDesc()
        disks += read_disks(live)
        nics.update(read_nics(live))
    attached = {disk.volume_id for disk in disks if disk.volume_id}
    shared = any(disk.ceph is not None for disk in disks)
    # What comes is as it will be, memo and all, and stands still until it is here. One that arrives paused then stands still as by a user's wish.
    is_coming = power is Power.PAUSED and bool(tag[2].move) and not tag[2].generation and reason in _COMING
    return Domain(
        server_id,
        power,
        tag[2],
        sorted(attached),
        sorted(nics),
        shared,
        moving=is_coming or is_under_way,
        stalled=power is Power.PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR,
        sent=state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED,
        root_backend=find_root_backend(disks),
    )


_NO_JOB = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_NO_DOMAIN)
_MIGRATIONS = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)


def _is_moving(handle: libvirt.virDomain) -> bool:
    """Whether a migration is under way with the domain."""
    if not handle.isActive():
        return False
    stats = _job_stats(handle)
    return stats.get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE and stats.get("operation") in _MIGRATIONS


def _job_stats(handle: libvirt.virDomain) -> dict[str, Any]:
    try:
        return dict(handle.jobStats())
    except libvirt.libvirtError as error:
        # The host that a guest goes to is refused its numbers as unsupported.
        if error.get_error_code() in _NO_JOB:
            return {}
        raise


def _find_ours(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> libvirt.virDomain | None:
    """The handle of a domain of ours, None when it doesn't exist or isn't ours."""
    handle = _lookup(connection, server_id)
    if handle is None:
        return None
    tag = read_tag(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    return handle if tag is not None and tag[0] == cloud_id else None


def _get_ours(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> libvirt.virDomain:
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None:
        raise NotFound("domain", server_id)
    return handle


def define(connection: libvirt.virConnect, cloud_id: str, server_id: str, xml: str) -> None:
    if _find_ours(connection, cloud_id, server_id) is None and _lookup(connection, server_id) is not None:
        raise Conflict(f"A domain with the id {server_id} exists on this host and is not of this cloud.")
    connection.defineXML(xml)


def start(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> None:
    handle = _get_ours(connection, cloud_id, server_id)
    match _POWER.get(handle.state()[0], Power.UNKNOWN):
        case Power.ON:
            return
        case Power.PAUSED:
            handle.resume()
        case _:
            handle.create()


def pause(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> None:
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None or _POWER.get(handle.state()[0]) is not Power.ON:
        return
    try:
        handle.suspend()
    except libvirt.libvirtError as error:
        # It may have ended between the two calls.
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def press_power_button(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> bool:
    """Whether there is still a guest that runs; if so its button has been pressed."""
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None or not handle.isActive():
        return False
    try:
        handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            return bool(handle.isActive())
        raise
    return True


def destroy(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> None:
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None:
        return
    try:
        handle.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def undefine(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> None:
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None:
        return
    try:
        handle.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def _where(handle: libvirt.virDomain) -> list[tuple[int, str]]:
    """Both definitions of a domain that matter now, as pairs of a flag to change it and its XML."""
    both = [(libvirt.VIR_DOMAIN_AFFECT_CONFIG, handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))]
    if handle.isActive():
        both.append((libvirt.VIR_DOMAIN_AFFECT_LIVE, handle.XMLDesc()))
    return both


def attach(connection: libvirt.virConnect, cloud_id: str, server_id: str, disk: Disk) -> None:
    handle = _get_ours(connection, cloud_id, server_id)
    flags = 0
    for flag, xml in _where(handle):
        disks = read_disks(xml)
        if any(other.volume_id == disk.volume_id for other in disks):
            continue
        if any(other.device == disk.device for other in disks):
            raise Conflict(f"The device {disk.device} is taken.")
        flags |= flag
    if flags:
        handle.attachDeviceFlags(disk_xml(disk), flags)


def detach(connection: libvirt.virConnect, cloud_id: str, server_id: str, volume_id: str) -> None:
    """Ask for the volume's removal wherever it still is. From a running guest it goes later."""
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None:
        return
    for flag, xml in _where(handle):
        for disk in read_disks(xml):
            if disk.volume_id == volume_id:
                _detach_one(handle, disk_xml(disk), flag)


def plug(connection: libvirt.virConnect, cloud_id: str, server_id: str, nic: Nic) -> None:
    handle = _get_ours(connection, cloud_id, server_id)
    flags = 0
    for flag, xml in _where(handle):
        if nic.mac.lower() not in read_nics(xml):
            flags |= flag
    if not flags:
        return
    try:
        handle.attachDeviceFlags(nic_xml(nic), flags)
    except libvirt.libvirtError as error:
        if "No more available PCI" in str(error):
            raise Conflict("No slot is free for another network card.", detail=str(error)) from error
        raise


def unplug(connection: libvirt.virConnect, cloud_id: str, server_id: str, mac: str) -> None:
    """Ask for the card's removal wherever it still is. From a running guest it goes later."""
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is None:
        return
    for flag, xml in _where(handle):
        found = read_nics(xml).get(mac.lower())
        if found is not None:
            _detach_one(handle, found, flag)


def _detach_one(handle: libvirt.virDomain, device_xml: str, flag: int) -> None:
    try:
        handle.detachDeviceFlags(device_xml, flag)
    except libvirt.libvirtError as error:
        gone = error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING
        under_way = "already in the process of unplug" in str(error)
        if not gone and not under_way:
            raise


def resize(connection: libvirt.virConnect, cloud_id: str, server_id: str, volume_id: str, size_bytes: int) -> None:
    handle = _get_ours(connection, cloud_id, server_id)
    for disk in read_disks(handle.XMLDesc()):
        if disk.volume_id == volume_id:
            handle.blockResize(disk.device, size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            return
    raise NotFound("volume", volume_id, f"Volume {volume_id} is not plugged into server {server_id}.")


def note(connection: libvirt.virConnect, cloud_id: str, server_id: str, memo: Memo) -> None:
    handle = _get_ours(connection, cloud_id, server_id)
    tag = read_tag(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert tag is not None, "_get_ours has read it"
    handle.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        tag_xml(memo, cloud_id, tag[1]),
        TAG_NAME,
        TAG_URI,
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )


def migrate(
    connection: libvirt.virConnect,
    cloud_id: str,
    server_id: str,
    landing: Landing,
    uri: str,
    *,
    copy: bool,
    sees_writes: bool,
) -> None:
    """Send the domain, from libvirt to libvirt. Blocks until it has gone, or doesn't.

    It stands still while its memory is sent if QEMU may not see what it writes meanwhile.
    """
    handle = _get_ours(connection, cloud_id, server_id)
    flags = libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST
    if sees_writes or has_odd_ram(handle.XMLDesc()):
        flags |= libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{landing.address}",
        libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: landing.address,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: moved_xml(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE), landing),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: moved_xml(
            handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_MIGRATABLE), landing
        ),
    }
    own = [disk.device for disk in read_disks(handle.XMLDesc()) if disk.ceph is None]
    if copy and own:
        # Only what was written on top: the base images are on both hosts.
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = own
    elif own:
        raise Conflict("The server has disks that the hosts don't share.")
    if landing.tls:
        flags |= libvirt.VIR_MIGRATE_TLS
        parameters[libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION] = landing.host
    handle.migrateToURI3(uri, parameters, flags)


def migration(connection: libvirt.virConnect, cloud_id: str, server_id: str) -> Progress | None:
    handle = _find_ours(connection, cloud_id, server_id)
    stats = _job_stats(handle) if handle is not None and handle.isActive() else {}
    if stats.get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE or stats.get("operation") not in _MIGRATIONS:
        return None
    return Progress(**{name: int(stats.get(name, 0)) for name in Progress.__struct_fields__})


def abort_migration(connection: libvirt.virConnect, cloud_id: str, server_id: str, sending: Collection[str]) -> None:
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is not None and (server_id in sending or _is_moving(handle)):
        _unless_over(handle.abortJob)


def force_migration(connection: libvirt.virConnect, cloud_id: str, server_id: str, sending: Collection[str]) -> None:
    """Let the guest stand still for as long as it takes to send the rest."""
    handle = _find_ours(connection, cloud_id, server_id)
    if handle is not None and (server_id in sending or _is_moving(handle)):
        _unless_over(lambda: handle.migrateSetMaxDowntime(LONGEST_PAUSE_MS))


def _unless_over(act: Callable[[], object]) -> None:
    try:
        act()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def keep_secret(connection: libvirt.virConnect, secret_id: str, title: str, value: bytes) -> None:
    """Let domains use the secret. libvirt forgets it when it ends."""
    wanted = secret_xml(secret_id, title)
    for known in connection.listAllSecrets():
        if known.UUIDString() == secret_id and f">{known.usageID()}<" not in wanted:
            # What it is for can't be changed. Guests that run have read it.
            known.undefine()
    connection.secretDefineXML(wanted).setValue(value)


def keep_key(connection: libvirt.virConnect, volume_id: str, passphrase: str) -> None:
    """Let domains open the volume."""
    connection.secretDefineXML(volume_secret_xml(volume_id)).setValue(passphrase.encode())


def forget_key(connection: libvirt.virConnect, volume_id: str) -> None:
    try:
        connection.secretLookupByUUIDString(volume_id).undefine()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise


def version_and_warm(connection: libvirt.virConnect, acceleration: str) -> int:
    connection.getDomainCapabilities(None, "x86_64", "q35", "kvm" if acceleration == "kvm" else "qemu")
    return int(connection.getVersion())
