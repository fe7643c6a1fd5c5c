"""Application credentials and the access rules that some of them are limited to."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class ApplicationCredential(msgspec.Struct, frozen=True):
    """A secret by which a program is its user, on one project and with some of the user's roles."""

    id: str
    name: str
    user_id: str
    project_id: str
    description: str
    secret_hash: str
    expires_at_us: int
    """0 for never."""
    unrestricted: bool
    role_ids: list[str]
    access_rule_ids: list[str] | None
    """None for every call."""


class AccessRule(msgspec.Struct, frozen=True):
    """A call that is allowed; a user's, shared by its application credentials."""

    id: str
    user_id: str
    service: str
    method: str
    path: str


APPLICATION_CREDENTIALS = Table("application_credentials", ApplicationCredential, noun="application credential")
ACCESS_RULES = Table("access_rules", AccessRule, noun="access rule")


def forget_application_credentials(tx: Tx, user_id: str, project_id: str) -> None:
    """Those of a user on a project that the user lost a role on."""
    APPLICATION_CREDENTIALS.delete_where(tx, user_id=user_id, project_id=project_id)
