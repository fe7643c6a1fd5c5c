"""Users."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.projects import DEFAULT_DOMAIN_ID
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


def new_user(id_: str, name: str, password_hash: str, *, domain_id: str = DEFAULT_DOMAIN_ID, now_us: int) -> User:
    """An enabled user, not yet stored."""
    return User(id_, name, domain_id, "", True, password_hash, now_us, "", "", {}, {}, now_us)


def forget_default_project(tx: Tx, project_id: str) -> None:
    """Nobody's default is a project that goes away."""
    USERS.update_where(tx, {"default_project_id": ""}, default_project_id=project_id)
