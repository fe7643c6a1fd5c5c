"""What a delegated token may still do: one by a trust, an application credential or an OAuth access token.

Each is judged anew whenever rows are read, so that a delegation that was deleted, has expired, or whose giver lost a role ends at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ostro.store.application_credentials import ACCESS_RULES, APPLICATION_CREDENTIALS
from ostro.store.database import Tx
from ostro.store.oauth1 import ACCESS_TOKENS
from ostro.store.projects import PROJECTS
from ostro.store.trusts import TRUSTS
from ostro.store.users import USERS


class Delegation(NamedTuple):
    """What a token came from; at most one is set."""

    trust_id: str = ""
    application_credential_id: str = ""
    access_token_id: str = ""


class Limits(NamedTuple):
    """What a delegation leaves of its user's roles."""

    role_ids: tuple[str, ...] | None = None
    """None for all."""
    roles_of: str = ""
    """Whose roles they are, where they are not the user's own."""
    needs_all: bool = False
    """Whether losing one of the roles ends it all."""
    shown: dict[str, Any] = {}  # noqa: RUF012 - never written to
    """Fields of the actor that tell where it came from."""


def find_limits(tx: Tx, delegation: Delegation, user_id: str, project_id: str, now_us: int) -> Limits | None:
    """The limits, empty without a delegation; None when it is worth nothing any more."""
    if delegation.trust_id:
        return _by_trust(tx, delegation.trust_id, user_id, project_id, now_us)
    if delegation.application_credential_id:
        return _by_application_credential(tx, delegation.application_credential_id, user_id, project_id, now_us)
    if delegation.access_token_id:
        return _by_access_token(tx, delegation.access_token_id, user_id, project_id, now_us)
    return Limits()


def is_usable_user(tx: Tx, user_id: str) -> bool:
    """Whether the user and its domain are there and enabled."""
    user = USERS.find(tx, id=user_id, enabled=True)
    return user is not None and PROJECTS.find(tx, id=user.domain_id, enabled=True) is not None


def _by_trust(tx: Tx, trust_id: str, user_id: str, project_id: str, now_us: int) -> Limits | None:
    trust = TRUSTS.find(tx, id=trust_id)
    if trust is None or (trust.expires_at_us and trust.expires_at_us <= now_us) or trust.project_id != project_id:
        return None
    if user_id != (trust.trustor_user_id if trust.impersonation else trust.trustee_user_id):
        return None
    if not is_usable_user(tx, trust.trustor_user_id) or not is_usable_user(tx, trust.trustee_user_id):
        return None
    shown = {
        "trust_id": trust.id,
        "trustor_id": trust.trustor_user_id,
        "trustee_id": trust.trustee_user_id,
        "trust_impersonates": trust.impersonation,
    }
    return Limits(tuple(trust.role_ids), trust.trustor_user_id, needs_all=True, shown=shown)


def _by_application_credential(tx: Tx, id_: str, user_id: str, project_id: str, now_us: int) -> Limits | None:
    credential = APPLICATION_CREDENTIALS.find(tx, id=id_, user_id=user_id, project_id=project_id)
    if credential is None or (credential.expires_at_us and credential.expires_at_us <= now_us):
        return None
    rules = None
    if credential.access_rule_ids is not None:
        found = ACCESS_RULES.list(tx, id=credential.access_rule_ids, order="id")
        rules = tuple((rule.service, rule.method, rule.path) for rule in found)
    shown = {
        "application_credential_id": id_,
        "unrestricted": credential.unrestricted,
        "access_rules": rules,
    }
    return Limits(tuple(credential.role_ids), shown=shown)


def _by_access_token(tx: Tx, id_: str, user_id: str, project_id: str, now_us: int) -> Limits | None:
    token = ACCESS_TOKENS.find(tx, id=id_, user_id=user_id, project_id=project_id)
    if token is None or (token.expires_at_us and token.expires_at_us <= now_us):
        return None
    shown = {"access_token_id": id_, "consumer_id": token.consumer_id, "unrestricted": False}
    return Limits(tuple(token.role_ids), shown=shown)
