"""Volumes: states, and how a state follows from what is wished and what was found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

LOCAL = "local"
"""Storage on the disks of the volume's own host."""
CEPH = "ceph"
"""Storage in Ceph, which all hosts share."""


LUKS = "luks"
"""LUKS 1, done by QEMU."""


def storage_trait(backend: str) -> str:
    """The trait of a host that has this kind of storage."""
    return f"CUSTOM_OSTRO_STORAGE_{backend.upper()}"


class VolumeStatus(StrEnum):
    """A volume's state as the API names it."""

    CREATING = "creating"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    EXTENDING = "extending"
    RETYPING = "retyping"
    UPLOADING = "uploading"
    REVERTING = "reverting"
    AWAITING_TRANSFER = "awaiting-transfer"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    ERROR_EXTENDING = "error_extending"


class SnapshotStatus(StrEnum):
    """A snapshot's state as the API names it."""

    CREATING = "creating"
    AVAILABLE = "available"
    RESTORING = "restoring"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"


class AttachmentStatus(StrEnum):
    """How far one attachment has come."""

    RESERVED = "reserved"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


SETTLED = frozenset((VolumeStatus.AVAILABLE, VolumeStatus.ERROR, VolumeStatus.ERROR_EXTENDING))
"""A volume may be deleted from these."""


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """All that a volume's status follows from."""

    built: bool
    deleting: bool
    reserved: bool
    growing: bool
    moving: bool
    faulty: bool
    reverting: bool = False
    uploading: bool = False
    offered: bool = False
    attachments: Collection[AttachmentStatus] = ()


def volume_status(facts: VolumeFacts) -> VolumeStatus:
    """The one status that the facts add up to; the first line that applies wins."""
    if facts.deleting:
        return VolumeStatus.ERROR_DELETING if facts.faulty else VolumeStatus.DELETING
    if not facts.built:
        return VolumeStatus.ERROR if facts.faulty else VolumeStatus.CREATING
    if facts.growing:
        return VolumeStatus.ERROR_EXTENDING if facts.faulty else VolumeStatus.EXTENDING
    if facts.faulty:
        return VolumeStatus.ERROR
    if facts.moving:
        return VolumeStatus.RETYPING
    if facts.reverting:
        return VolumeStatus.REVERTING
    if facts.uploading:
        return VolumeStatus.UPLOADING
    if facts.offered:
        return VolumeStatus.AWAITING_TRANSFER
    for attachment, status in (
        (AttachmentStatus.DETACHING, VolumeStatus.DETACHING),
        (AttachmentStatus.ATTACHING, VolumeStatus.ATTACHING),
        (AttachmentStatus.ATTACHED, VolumeStatus.IN_USE),
        (AttachmentStatus.RESERVED, VolumeStatus.RESERVED),
    ):
        if attachment in facts.attachments:
            return status
    return VolumeStatus.RESERVED if facts.reserved else VolumeStatus.AVAILABLE


def snapshot_status(*, built: bool, deleting: bool, faulty: bool, restoring: bool = False) -> SnapshotStatus:
    """The one status that the facts add up to."""
    if deleting:
        return SnapshotStatus.ERROR_DELETING if faulty else SnapshotStatus.DELETING
    if faulty:
        return SnapshotStatus.ERROR
    if not built:
        return SnapshotStatus.CREATING
    return SnapshotStatus.RESTORING if restoring else SnapshotStatus.AVAILABLE
