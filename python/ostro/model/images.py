"""Images: states, visibilities and formats."""

from __future__ import annotations

from enum import StrEnum


class ImageStatus(StrEnum):
    """Where an image is in its life.

    queued -> saving -> active <-> deactivated; an upload that fails goes back from saving to queued. ``deleted`` is ours:
    the API no longer shows the image, and its bytes stay until no host needs them.
    """

    QUEUED = "queued"
    SAVING = "saving"
    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"


class Visibility(StrEnum):
    """Who sees an image besides its owner."""

    PUBLIC = "public"
    COMMUNITY = "community"
    SHARED = "shared"
    PRIVATE = "private"


class MemberStatus(StrEnum):
    """What a member has said to an image shared with it."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "luks")
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")

UNKNOWN_BYTES = -1
"""A size before there are bytes."""
