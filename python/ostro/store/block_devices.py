"""The volumes of servers, as Compute sees them: which device, which boots, which goes with the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection

import msgspec

from ostro.store.changes import TOPIC
from ostro.store.database import Tx
from ostro.store.table import Table


class BlockDevice(msgspec.Struct, frozen=True):
    """One volume of one server. ``device`` is a path such as ``/dev/vdb``; ``boot_index`` is 0 for the root volume, else -1."""

    id: str
    server_id: str
    volume_id: str
    attachment_id: str
    device: str
    boot_index: int
    delete_on_termination: bool
    tag: str | None
    created_at_us: int


BLOCK_DEVICES = Table("block_devices", BlockDevice, noun="volume attachment", rings=TOPIC)


def list_block_devices(tx: Tx, server_ids: Collection[str]) -> dict[str, list[BlockDevice]]:
    """Volumes by server, in the order of attaching; only servers that have some."""
    return ask_block_devices(tx, server_ids)()


def ask_block_devices(tx: Tx, server_ids: Collection[str]) -> Callable[[], dict[str, list[BlockDevice]]]:
    """``list_block_devices`` for whoever has more to ask."""
    if not server_ids:
        return dict
    devices = BLOCK_DEVICES.ask(tx, server_id=list(server_ids), order="created_at_us, device")

    def look() -> dict[str, list[BlockDevice]]:
        out: dict[str, list[BlockDevice]] = defaultdict(list)
        for device in devices():
            out[device.server_id].append(device)
        return out

    return look
