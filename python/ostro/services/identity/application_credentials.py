"""Application credentials: a secret by which a program is its user, on one project, with some of the user's roles, perhaps for some calls only.

They are made by their user only, with the roles of the token at hand, and never by a token that is itself limited: see ``check_unrestricted``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.services.identity.access import missing, need_user
from ostro.services.identity.credentials import check_not_delegated, check_not_lent, check_unrestricted
from ostro.store.application_credentials import (
    ACCESS_RULES,
    APPLICATION_CREDENTIALS,
    AccessRule,
    ApplicationCredential,
)
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page
from ostro.store.roles import ROLES, Role, expand_roles
from ostro.store.tokens import TOPIC

Full = tuple[ApplicationCredential, list[Role], list[AccessRule]]


def _full(tx: Tx, rows: Sequence[ApplicationCredential]) -> list[Full]:
    """Rows with their roles and access rules."""
    roles = ROLES.by_key(ROLES.list(tx))
    rule_ids = sorted({id_ for row in rows for id_ in row.access_rule_ids or ()})
    rules = ACCESS_RULES.by_key(ACCESS_RULES.list(tx, id=rule_ids))
    return [
        (
            row,
            [roles[id_] for id_ in row.role_ids if id_ in roles],
            [rules[id_] for id_ in row.access_rule_ids or () if id_ in rules],
        )
        for row in rows
    ]


def create_application_credential(
    tx: Tx, context: Context, user_id: str, given: Mapping[str, Any], secret_hash: str, expires_at_us: int
) -> Full:
    """Add one for the project of the token at hand."""
    context.enforce("identity:create_application_credential", user_id=user_id)
    check_not_delegated(context)
    if not context.project_id:
        raise Forbidden("An application credential is made with a token of a project.")
    if expires_at_us and expires_at_us <= context.now_us:
        raise Invalid("The time of expiry is in the past.")
    if APPLICATION_CREDENTIALS.find(tx, user_id=user_id, name=given["name"]) is not None:
        raise Conflict(
            "Conflict occurred attempting to store application_credential - Duplicate entry found with name"
            f" {given['name']}."
        )
    rules = given.get("access_rules")
    row = ApplicationCredential(
        id=context.new_hex_id(),
        name=given["name"],
        user_id=user_id,
        project_id=context.project_id,
        description=given.get("description") or "",
        secret_hash=secret_hash,
        expires_at_us=expires_at_us,
        unrestricted=bool(given.get("unrestricted")),
        role_ids=_role_ids(tx, context, given.get("roles")),
        access_rule_ids=[_need_rule(tx, context, user_id, rule).id for rule in rules] if rules else None,
    )
    return _full(tx, [APPLICATION_CREDENTIALS.insert(tx, row)])[0]


def _role_ids(tx: Tx, context: Context, given: Sequence[Mapping[str, str]] | None) -> list[str]:
    """The roles that were asked for, or all of the token's. Raises Invalid for one that the token doesn't have."""
    own = {id_ for id_, _name in context.actor.role_ids}
    if not given:
        return sorted(own)
    out = []
    for wanted in given:
        role = ROLES.find(tx, **({"id": wanted["id"]} if "id" in wanted else {"name": wanted["name"], "domain_id": ""}))
        if role is None or role.id not in expand_roles(tx, own):
            raise Invalid(f"The user has no role {wanted.get('id') or wanted.get('name')} on the project.")
        out.append(role.id)
    return out


def _need_rule(tx: Tx, context: Context, user_id: str, given: Mapping[str, str]) -> AccessRule:
    """The user's access rule that was asked for: by id, or by what it says, then made when it isn't there."""
    if "id" in given and len(given) == 1:
        found = ACCESS_RULES.find(tx, id=given["id"], user_id=user_id)
        if found is None:
            raise missing("access rule", given["id"])
        return found
    if not {"service", "method", "path"} <= set(given):
        raise Invalid("An access rule is an id, or a service, a method and a path.")
    key = {"user_id": user_id, "service": given["service"], "method": given["method"], "path": given["path"]}
    present = ACCESS_RULES.find(tx, **key)
    return present or ACCESS_RULES.insert(tx, AccessRule(context.new_hex_id(), **key))


def _reach(tx: Tx, context: Context, user_id: str, id_: str, verb: str) -> ApplicationCredential:
    """The credential, by its owner whatever user the path names: nobody reaches another's below their own name."""
    row = APPLICATION_CREDENTIALS.find(tx, id=id_)
    policy = f"identity:{verb}_application_credential"
    context.enforce(policy, user_id=user_id)
    context.enforce(policy, user_id=row.user_id if row else user_id)
    check_not_lent(context)
    if row is None or row.user_id != user_id:
        raise missing("application credential", id_)
    return row


def get_application_credential(tx: Tx, context: Context, user_id: str, id_: str) -> Full:
    """One of them."""
    return _full(tx, [_reach(tx, context, user_id, id_, "get")])[0]


def list_application_credentials(
    tx: Tx, context: Context, user_id: str, page: Page
) -> tuple[list[ApplicationCredential], list[Full]]:
    """One page of a user's, and the same with their roles and rules."""
    context.enforce("identity:list_application_credentials", user_id=user_id)
    check_not_lent(context)
    need_user(tx, user_id)
    rows = list_page(tx, APPLICATION_CREDENTIALS, page.with_filters(Filter("user_id", user_id)))
    return rows, _full(tx, rows)


def delete_application_credential(tx: Tx, context: Context, user_id: str, id_: str) -> None:
    """End one, and its tokens."""
    row = _reach(tx, context, user_id, id_, "delete")
    check_unrestricted(context)
    APPLICATION_CREDENTIALS.delete(tx, row.id)
    tx.ring(TOPIC)


def _reach_rule(tx: Tx, context: Context, user_id: str, id_: str, verb: str) -> AccessRule:
    context.enforce(f"identity:{verb}_access_rule", target__user__id=user_id)
    check_not_lent(context)
    row = ACCESS_RULES.find(tx, id=id_, user_id=user_id)
    if row is None:
        raise missing("access rule", id_)
    return row


def get_access_rule(tx: Tx, context: Context, user_id: str, id_: str) -> AccessRule:
    """A user's access rule."""
    return _reach_rule(tx, context, user_id, id_, "get")


def list_access_rules(tx: Tx, context: Context, user_id: str, page: Page) -> list[AccessRule]:
    """One page of a user's access rules."""
    context.enforce("identity:list_access_rules", target__user__id=user_id)
    check_not_lent(context)
    return list_page(tx, ACCESS_RULES, page.with_filters(Filter("user_id", user_id)))


def delete_access_rule(tx: Tx, context: Context, user_id: str, id_: str) -> None:
    """Delete an access rule that no application credential uses."""
    _reach_rule(tx, context, user_id, id_, "delete")
    check_unrestricted(context)
    for row in APPLICATION_CREDENTIALS.list(tx, user_id=user_id):
        if id_ in (row.access_rule_ids or ()):
            raise Forbidden(f"Access rule {id_} is used by application credential {row.id}.")
    ACCESS_RULES.delete(tx, id_)
