"""Projects that images are shared with."""

from __future__ import annotations

import msgspec

from ostro.model.images import MemberStatus
from ostro.store.changes import TOPIC
from ostro.store.table import Table


class ImageMember(msgspec.Struct, frozen=True):
    """A project that an image is shared with, and what it has said to that."""

    image_id: str
    member_id: str
    status: MemberStatus
    created_at_us: int
    updated_at_us: int


MEMBERS = Table("image_members", ImageMember, key="member_id", noun="member", rings=TOPIC)
