"""What must be gone once every server and volume is gone: the checker of the crash tests."""

from __future__ import annotations

from ostro.store.database import Tx
from ostro.store.inventories import count_wrong_sums

EMPTY = {
    "servers": "SELECT count(*) FROM servers WHERE deleted_at_us = 0",
    "server starts": "SELECT count(*) FROM server_starts",
    "allocations": "SELECT count(*) FROM allocations",
    "consumers": "SELECT count(*) FROM consumers",
    "used amounts": "SELECT count(*) FROM inventories WHERE used <> 0",
    "ports of servers": "SELECT count(*) FROM ports WHERE substr(device_owner, 1, 8) = 'compute:'",
    "addresses of ports that are gone": ("SELECT count(*) FROM addresses WHERE port_id NOT IN (SELECT id FROM ports)"),
    "image holds": "SELECT count(*) FROM image_holds",
    "volumes": "SELECT count(*) FROM volumes",
    "uploads of volumes": "SELECT count(*) FROM volume_uploads",
    "attachments": "SELECT count(*) FROM attachments",
    "block devices": "SELECT count(*) FROM block_devices",
    "lent volumes": "SELECT count(*) FROM lent_volumes",
    "sagas": "SELECT count(*) FROM sagas",
    "asks": "SELECT count(*) FROM asks",
    "wishes for servers, ports, volumes and images": (
        "SELECT count(*) FROM wishes WHERE noun IN ('server', 'port', 'volume', 'upload', 'image', 'ask')"
    ),
    "actions that never ended": "SELECT count(*) FROM instance_actions WHERE finished_at_us = 0",
}


def find_leaks(tx: Tx) -> dict[str, int]:
    """What is left although there is no server and no volume; empty when all is well."""
    left: dict[str, int] = {}
    for what, sql in EMPTY.items():
        row = tx.one(sql)
        assert row is not None
        left[what] = int(row[0])
    left["inventories that don't add up"] = count_wrong_sums(tx)
    return {what: count for what, count in left.items() if count}
