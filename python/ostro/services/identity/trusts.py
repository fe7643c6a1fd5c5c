"""Trusts: a trustor lends roles on a project to a trustee, for a time or a number of uses, and may let the trustee lend them on.

A redelegated trust never holds more roles, lasts longer or impersonates more than the one it was made from, and ends with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Forbidden, Invalid, NotFound
from ostro.services.identity.access import forbidden, missing, need_project, need_role, need_user
from ostro.services.identity.assignments import list_role_ids_on
from ostro.services.identity.credentials import check_unrestricted
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, Where, list_page
from ostro.store.roles import ROLES, Role
from ostro.store.tokens import TOPIC
from ostro.store.trusts import TRUSTS, Trust, list_below

REDELEGATION_MOST = 3


def _target(trust: Trust | None) -> dict[str, object]:
    if trust is None:
        return {}
    return {
        "target__trust__trustor_user_id": trust.trustor_user_id,
        "target__trust__trustee_user_id": trust.trustee_user_id,
    }


def _check_own(context: Context) -> None:
    """Raise Forbidden for a token of an application credential or of OAuth: a trust made or used by it would lead out of its bounds. CVE-2026-43000."""
    check_unrestricted(context)
    if context.actor.application_credential_id:
        raise Forbidden("Trusts are not managed with an application credential.")


def create_trust(
    tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any], expires_at_us: int
) -> Trust:
    """Lend roles. With a token of a trust this lends them on."""
    actor = context.actor
    if not context.may("identity:create_trust", target__trust__trustor_user_id=given["trustor_user_id"]):
        raise forbidden("The authenticated user should match the trustor")
    _check_own(context)
    project_id = given.get("project_id") or ""
    role_ids = _role_ids(tx, given.get("roles") or ())
    if project_id and not role_ids:
        raise Forbidden("At least one role should be specified.")
    if project_id and project_id != context.project_id and actor.trust_id:
        raise Forbidden("A trust is lent on for its own project only.")
    if expires_at_us and expires_at_us <= context.now_us:
        raise Invalid("The time of expiry is in the past.")
    need_user(tx, given["trustee_user_id"])
    if project_id:
        need_project(tx, project_id)
        _check_has(tx, given["trustor_user_id"], project_id, role_ids, context.now_us)
    count = int(given.get("redelegation_count") or 0) if given.get("allow_redelegation") else 0
    if given.get("allow_redelegation") and given.get("redelegation_count") is None:
        count = REDELEGATION_MOST
    if count > REDELEGATION_MOST:
        raise Forbidden(f"Requested redelegation depth of {count} is greater than allowed {REDELEGATION_MOST}.")
    trust = Trust(
        id=context.new_hex_id(),
        trustor_user_id=given["trustor_user_id"],
        trustee_user_id=given["trustee_user_id"],
        project_id=project_id,
        impersonation=given["impersonation"],
        expires_at_us=expires_at_us,
        remaining_uses=given.get("remaining_uses"),
        redelegated_trust_id=actor.trust_id,
        redelegation_count=count,
        role_ids=role_ids,
        extra=dict(extra),
    )
    if actor.trust_id:
        trust = _lend_on(tx, actor.trust_id, trust, given)
    return TRUSTS.insert(tx, trust)


def _check_has(tx: Tx, user_id: str, project_id: str, role_ids: Sequence[str], now_us: int) -> None:
    have = list_role_ids_on(tx, user_id, project_id, now_us)
    for role_id in role_ids:
        if role_id not in have:
            raise NotFound("role", role_id, f"Could not find role: {role_id}.")


def _role_ids(tx: Tx, given: Sequence[Mapping[str, str]]) -> list[str]:
    out = []
    for wanted in given:
        if "id" in wanted:
            out.append(need_role(tx, wanted["id"]).id)
            continue
        role = ROLES.find(tx, name=wanted["name"], domain_id="")
        if role is None:
            raise missing("role", wanted["name"])
        out.append(role.id)
    return out


def _lend_on(tx: Tx, source_id: str, trust: Trust, given: Mapping[str, Any]) -> Trust:
    """The trust within the bounds of the one it is made from. Raises Forbidden for whatever would widen it."""
    source = TRUSTS.get(tx, source_id)
    if source.redelegation_count < 1:
        raise Forbidden("The trust may not be redelegated.")
    if trust.redelegation_count >= source.redelegation_count and given.get("redelegation_count") is not None:
        raise Forbidden("The redelegation depth must be less than the source's.")
    if given.get("remaining_uses") is not None:
        raise Forbidden("A redelegated trust has no number of uses of its own.")
    if not set(trust.role_ids) <= set(source.role_ids):
        raise Forbidden("Some of the requested roles are not in the redelegated trust.")
    if trust.impersonation and not source.impersonation:
        raise Forbidden("Impersonation is not allowed because the redelegated trust does not allow it.")
    if source.expires_at_us and (not trust.expires_at_us or trust.expires_at_us > source.expires_at_us):
        if trust.expires_at_us:
            raise Forbidden("Requested expiration time is later than the redelegated trust's.")
        trust = msgspec.structs.replace(trust, expires_at_us=source.expires_at_us)
    count = min(trust.redelegation_count, source.redelegation_count - 1)
    return msgspec.structs.replace(trust, redelegation_count=count, remaining_uses=source.remaining_uses)


def _is_over(trust: Trust, now_us: int) -> bool:
    return (bool(trust.expires_at_us) and trust.expires_at_us <= now_us) or trust.remaining_uses == 0


def _reach(tx: Tx, context: Context, id_: str, policy: str) -> Trust:
    trust = TRUSTS.find(tx, id=id_)
    if trust is None or _is_over(trust, context.now_us):
        raise missing("trust", id_)
    context.enforce(policy, **_target(trust))
    _check_own(context)
    return trust


def get_trust(tx: Tx, context: Context, id_: str, policy: str = "identity:get_trust") -> tuple[Trust, list[Role]]:
    """A trust and its roles."""
    trust = _reach(tx, context, id_, policy)
    return trust, ROLES.list(tx, id=trust.role_ids, order="name")


def list_trusts(tx: Tx, context: Context, page: Page, trustor_id: str, trustee_id: str) -> list[Trust]:
    """One page of trusts: all, or those of a trustor or a trustee. Those that are over are not shown."""
    _check_own(context)
    if not trustor_id and not trustee_id:
        context.enforce("identity:list_trusts")
    if trustor_id:
        context.enforce("identity:list_trusts_for_trustor", target__trust__trustor_user_id=trustor_id)
        page = page.with_filters(Filter("trustor_user_id", trustor_id))
    if trustee_id:
        context.enforce("identity:list_trusts_for_trustee", target__trust__trustee_user_id=trustee_id)
        page = page.with_filters(Filter("trustee_user_id", trustee_id))
    live = Where(
        "(trusts.expires_at_us = 0 OR trusts.expires_at_us > ?) AND (trusts.remaining_uses IS NULL OR"
        " trusts.remaining_uses > 0)",
        (context.now_us,),
    )
    return list_page(tx, TRUSTS, page.with_filters(live))


def delete_trust(tx: Tx, context: Context, id_: str) -> None:
    """End a trust, and those that were made from it."""
    trust = _reach(tx, context, id_, "identity:delete_trust")
    if context.actor.trust_id:
        raise Forbidden("A trust is not ended by a token of a trust.")
    for below in list_below(tx, trust.id):
        TRUSTS.delete(tx, below)
    tx.ring(TOPIC)
