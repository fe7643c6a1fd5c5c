"""Images that are being made of what volumes hold."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class VolumeUpload(msgspec.Struct, frozen=True):
    """``host_id`` makes ``image_id`` of what ``volume_id`` holds, and the volume is uploading until this row is gone.

    ``shared`` says that the host may put the bytes, under this id, where the control plane keeps images, instead of sending them. ``fault`` is why
    it comes to nothing.
    """

    id: str
    volume_id: str
    image_id: str
    host_id: str
    shared: bool
    fault: str
    created_at_us: int


VOLUME_UPLOADS = Table("volume_uploads", VolumeUpload, noun="upload")
