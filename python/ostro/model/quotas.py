"""What can be limited: resources by the names of upstream's unified limits, and the defaults that upstream ships.

A limit of -1 means none. A resource that nobody has registered a limit for isn't limited either, as with Nova's ``ignore`` strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

UNLIMITED = -1
LIMIT_MOST = 2_147_483_647

SERVERS = "servers"
VCPU = "class:VCPU"
MEMORY_MB = "class:MEMORY_MB"
DISK_GB = "class:DISK_GB"
METADATA_ITEMS = "server_metadata_items"
KEY_PAIRS = "server_key_pairs"
SERVER_GROUPS = "server_groups"
SERVER_GROUP_MEMBERS = "server_group_members"

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "compute": {
        SERVERS: 10,
        VCPU: 20,
        MEMORY_MB: 51_200,
        DISK_GB: UNLIMITED,
        METADATA_ITEMS: 128,
        "server_injected_files": 5,
        "server_injected_file_content_bytes": 10_240,
        "server_injected_file_path_bytes": 255,
        KEY_PAIRS: 100,
        SERVER_GROUPS: 10,
        SERVER_GROUP_MEMBERS: 10,
    },
    "network": {
        "network": 100,
        "subnet": 100,
        "subnetpool": UNLIMITED,
        "port": 500,
        "router": 10,
        "floatingip": 50,
        "rbac_policy": 10,
        "security_group": 10,
        "security_group_rule": 100,
    },
    "block-storage": {
        "volumes": 10,
        "gigabytes": 1000,
        "snapshots": 10,
        "backups": 10,
        "backup_gigabytes": 1000,
        "groups": 10,
        "per_volume_gigabytes": UNLIMITED,
    },
    # Glance doesn't enforce limits unless it is told to.
    "image": {
        "image_size_total": UNLIMITED,
        "image_stage_total": UNLIMITED,
        "image_count_total": UNLIMITED,
        "image_count_uploading": UNLIMITED,
    },
}
"""Type of service -> resource -> the limit that is registered at the first start."""


class LimitModel(StrEnum):
    """Keystone's ``[unified_limit] enforcement_model``."""

    FLAT = "flat"
    """Each project by itself."""
    STRICT_TWO_LEVEL = "strict_two_level"
    """A domain's limit also bounds its projects together, and no project's limit may be above it. There are no projects below projects."""


DESCRIPTIONS = {
    LimitModel.FLAT: "Limit enforcement and validation does not take project hierarchy into consideration.",
    LimitModel.STRICT_TWO_LEVEL: "This model requires project hierarchy never exceeds a depth of two.",
}


class LimitRules(msgspec.Struct, frozen=True):
    """How limits hold in this cloud. A limit of ``region`` goes before one of all regions."""

    model: LimitModel = LimitModel.FLAT
    region: str = ""


FLAT_RULES = LimitRules()


class Over(msgspec.Struct, frozen=True):
    """A limit that would be passed."""

    name: str
    asked: int
    used: int
    limit: int
