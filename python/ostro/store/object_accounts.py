"""Accounts: what a project notes of its own object storage."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class ObjectAccount(msgspec.Struct, frozen=True):
    """One project's account. There is none until something is noted; everybody has an empty one before."""

    project_id: str
    headers: dict[str, str]
    created_at_us: int


ACCOUNTS = Table("object_accounts", ObjectAccount, key="project_id", noun="account")
