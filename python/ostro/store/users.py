"""Users."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.table import Table


class User(msgspec.Struct, frozen=True):
    """A user. ``password_hash`` is in PHC form, empty when the user has no password."""

    id: str
    name: str
    domain_id: str
    default_project_id: str
    enabled: bool
    password_hash: str
    password_set_at_us: int
    email: str
    description: str
    options: dict[str, Any]
    extra: dict[str, Any]
    created_at_us: int


USERS = Table("users", User)
