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
    password_by_admin: bool = False
    """Whether somebody else chose the password."""
    source: str = ""
    """Where the user comes from, when it isn't from here: see ``FEDERATION``."""
    shown_name: str = ""
    """Its name where that need not be unique; ``name`` is its id then."""

    @property
    def display_name(self) -> str:
        """The name that is shown."""
        return self.shown_name or self.name


FEDERATION = "federation"
"""The source of users that identity providers vouch for."""
DIRECTORY = "ldap"
"""The source of users and groups of a domain's directory."""
GONE = "gone"
"""The source of those that the directory has no more: hidden and of no use, but not forgotten."""


USERS = Table("users", User)


def new_user(id_: str, name: str, password_hash: str, *, domain_id: str = DEFAULT_DOMAIN_ID, now_us: int) -> User:
    """An enabled user, not yet stored."""
    return User(id_, name, domain_id, "", True, password_hash, now_us, "", "", {}, {}, now_us)


def forget_default_project(tx: Tx, project_id: str) -> None:
    """Nobody's default is a project that goes away."""
    USERS.update_where(tx, {"default_project_id": ""}, default_project_id=project_id)


class Failures(msgspec.Struct, frozen=True):
    """Wrong passwords in a row. ``subject`` is a user's id, or a digest of what was asked for where there is no such user."""

    subject: str
    failures: int
    last_at_us: int


FAILURES = Table("login_failures", Failures, key="subject")


def count_failure(tx: Tx, subject: str, now_us: int) -> None:
    """Remember a wrong password."""
    tx.execute(
        "INSERT INTO login_failures (subject, failures, last_at_us) VALUES (?, 1, ?)"
        " ON CONFLICT (subject) DO UPDATE SET failures = login_failures.failures + 1, last_at_us = excluded.last_at_us",
        (subject, now_us),
    )


def forget_failures(tx: Tx, before_us: int) -> int:
    """Forget those that lock nobody out any more."""
    return tx.execute("DELETE FROM login_failures WHERE last_at_us < ?", (before_us,))


def add_past_password(tx: Tx, user_id: str, password_hash: str, set_at_us: int, keep: int) -> None:
    """Remember a password that is given up, and of all of them the newest ``keep``."""
    sql = "INSERT INTO password_history (user_id, set_at_us, password_hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    tx.execute(sql, (user_id, set_at_us, password_hash))
    rows = tx.all("SELECT set_at_us FROM password_history WHERE user_id = ? ORDER BY set_at_us DESC", (user_id,))
    for row in rows[keep:]:
        tx.execute("DELETE FROM password_history WHERE user_id = ? AND set_at_us = ?", (user_id, row[0]))


def list_past_passwords(tx: Tx, user_id: str, most: int) -> list[str]:
    """Hashes of the newest given-up passwords."""
    sql = "SELECT password_hash FROM password_history WHERE user_id = ? ORDER BY set_at_us DESC LIMIT ?"
    return [row[0] for row in tx.all(sql, (user_id, most))]
