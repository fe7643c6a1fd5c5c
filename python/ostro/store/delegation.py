"""What users have delegated, as far as it must end with what it rests on: application credentials, trusts, OAuth tokens, credentials."""

from __future__ import annotations

from ostro.store.application_credentials import APPLICATION_CREDENTIALS
from ostro.store.credentials import CREDENTIALS
from ostro.store.database import Tx
from ostro.store.endpoint_groups import ENDPOINT_TIES, GROUP_TIES
from ostro.store.limits import LIMITS
from ostro.store.oauth1 import ACCESS_TOKENS, REQUEST_TOKENS
from ostro.store.trusts import TRUSTS


def forget_project(tx: Tx, project_id: str) -> None:
    """Everything that was delegated on a project that goes away, and what was set for it."""
    for table in (
        APPLICATION_CREDENTIALS,
        TRUSTS,
        CREDENTIALS,
        REQUEST_TOKENS,
        ACCESS_TOKENS,
        LIMITS,
        GROUP_TIES,
        ENDPOINT_TIES,
    ):
        table.delete_where(tx, project_id=project_id)


def forget_user_on_project(tx: Tx, user_id: str, project_id: str) -> None:
    """What a user delegated on a project that it lost a role on; trusts and OAuth tokens are judged by the roles that are left."""
    APPLICATION_CREDENTIALS.delete_where(tx, user_id=user_id, project_id=project_id)
