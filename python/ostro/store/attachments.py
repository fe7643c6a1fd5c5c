"""Attachments of volumes to servers."""

from __future__ import annotations

import msgspec

from ostro.model.volumes import AttachmentStatus
from ostro.store.changes import TOPIC
from ostro.store.table import Table


class Attachment(msgspec.Struct, frozen=True):
    """A volume that is, or is about to be, plugged into a server. ``device`` is a path such as ``/dev/vdb``.

    ``limits`` is what the hypervisor holds it to: what its type said when it was plugged in."""

    id: str
    volume_id: str
    project_id: str
    server_id: str
    host_id: str
    device: str
    mode: str
    status: AttachmentStatus
    connector: dict[str, str]
    created_at_us: int
    attached_at_us: int
    limits: dict[str, int] = {}


ATTACHMENTS = Table("attachments", Attachment, rings=TOPIC)
