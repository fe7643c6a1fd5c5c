"""Credentials of any type, sealed."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.table import Table


class Credential(msgspec.Struct, frozen=True):
    """A secret of a user. Of type ``ec2`` the id is the digest of the access key."""

    id: str
    user_id: str
    project_id: str
    type: str
    sealed_blob: str
    extra: dict[str, Any]


CREDENTIALS = Table("credentials", Credential)
