"""Credentials: secrets that Identity keeps for users, sealed; EC2 keys among them. Sealing happens outside, by the caller.

A token of a restricted application credential, or of OAuth, makes, changes and ends none: it could outlive its own limits by them. And no
delegated token reaches any but those of its own project: neither another project's keys nor what guards the user's logins is its business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid
from ostro.services.identity.access import missing, need_project, need_user, reach_user
from ostro.store.credentials import CREDENTIALS, Credential
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, list_page

EC2 = "ec2"
FETCH_MOST = 1000


def check_unrestricted(context: Context) -> None:
    """Raise Forbidden for a token that may not make or end what it could be replaced by. CVE-2020-12689, CVE-2020-12691."""
    if not context.actor.unrestricted:
        raise Forbidden("This method is not allowed with a restricted application credential or an OAuth token.")


def check_not_delegated(context: Context) -> None:
    """Raise Forbidden for a token that somebody else's roles are lent by: what it makes would outlive the loan."""
    check_unrestricted(context)
    if context.actor.trust_id:
        raise Forbidden("This method is not allowed with a token of a trust.")


def check_not_lent(context: Context) -> None:
    """Raise Forbidden for a token of a trust or of OAuth: what the user made for itself is not among what was lent."""
    if context.actor.trust_id or context.actor.access_token_id:
        raise Forbidden("This method is not allowed with a token of a trust or of OAuth.")


def _is_within(context: Context, project_id: str) -> bool:
    """Whether a delegated token may have to do with credentials of the project at all."""
    return not context.actor.is_delegated or project_id == context.project_id


def _check_within(context: Context, project_id: str) -> None:
    if not _is_within(context, project_id):
        raise Forbidden("The credential's project is not the one that the token was delegated for.")


def digest_of(access: str) -> str:
    """The id of the credential of an EC2 access key."""
    return hashlib.sha256(access.encode()).hexdigest()


def _target(user_id: str) -> dict[str, object]:
    return {"target__credential__user_id": user_id}


def create_credential(
    tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any], sealed_blob: str, access: str
) -> Credential:
    """Keep a secret. ``access`` is the access key inside a blob of type ec2."""
    user_id = given.get("user_id") or context.user_id
    context.enforce("identity:create_credential", **_target(user_id))
    check_not_delegated(context)
    need_user(tx, user_id)
    project_id = given.get("project_id") or ""
    _check_within(context, project_id)
    if given["type"] == EC2 and not project_id:
        raise Invalid("A credential of type ec2 needs a project_id.")
    if project_id and given["type"] == EC2:
        need_project(tx, project_id)
    id_ = digest_of(access) if given["type"] == EC2 else context.new_hex_id()
    row = Credential(id_, user_id, project_id, given["type"], sealed_blob, dict(extra))
    if not CREDENTIALS.insert_new(tx, row):
        raise Conflict("Conflict occurred attempting to store credential - Duplicate entry.")
    return row


def _reach(tx: Tx, context: Context, id_: str, verb: str) -> Credential:
    row = CREDENTIALS.find(tx, id=id_)
    context.enforce(f"identity:{verb}_credential", **(_target(row.user_id) if row else {}))
    if row is None:
        raise missing("credential", id_)
    _check_within(context, row.project_id)
    return row


def get_credential(tx: Tx, context: Context, id_: str) -> Credential:
    """One of them."""
    return _reach(tx, context, id_, "get")


def list_credentials(tx: Tx, context: Context, page: Page) -> list[Credential]:
    """One page of those that the actor may see."""
    context.enforce("identity:list_credentials", **_target(context.user_id))
    if context.actor.is_delegated:
        page = page.with_filters(Filter("project_id", context.project_id))
    rows = list_page(tx, CREDENTIALS, page)
    return [row for row in rows if context.may("identity:get_credential", **_target(row.user_id))]


def update_credential(
    tx: Tx, context: Context, id_: str, given: Mapping[str, Any], extra: Mapping[str, Any], sealed_blob: str
) -> Credential:
    """Change one. Neither its owner nor, for EC2, its access key's owner or project can be changed to widen it."""
    row = _reach(tx, context, id_, "update")
    check_not_delegated(context)
    user_id = given.get("user_id") or row.user_id
    context.enforce("identity:update_credential", **_target(user_id))
    type_ = given.get("type", row.type)
    project_id = given["project_id"] or "" if "project_id" in given else row.project_id
    _check_within(context, project_id)
    if type_ == EC2 and not project_id:
        raise Invalid("A credential of type ec2 needs a project_id.")
    if EC2 in (type_, row.type) and (user_id, project_id) != (row.user_id, row.project_id) and not context.is_admin:
        raise Forbidden("The user and the project of an EC2 credential can't be changed.")
    changes: dict[str, Any] = {"user_id": user_id, "project_id": project_id, "type": type_}
    if sealed_blob:
        changes["sealed_blob"] = sealed_blob
    changes["extra"] = {**row.extra, **extra}
    CREDENTIALS.update(tx, id_, **changes)
    return msgspec.structs.replace(row, **changes)


def delete_credential(tx: Tx, context: Context, id_: str) -> None:
    """Forget a secret."""
    _reach(tx, context, id_, "delete")
    check_not_delegated(context)
    CREDENTIALS.delete(tx, id_)


def create_ec2(tx: Tx, context: Context, user_id: str, project_id: str, access: str, sealed_blob: str) -> Credential:
    """Give a user a pair of EC2 keys for a project; they are worth what roles the user has there when they are used."""
    context.enforce("identity:ec2_create_credential", **_target(user_id))
    check_not_delegated(context)
    need_user(tx, user_id)
    need_project(tx, project_id)
    _check_within(context, project_id)
    row = Credential(digest_of(access), user_id, project_id, EC2, sealed_blob, {})
    return CREDENTIALS.insert(tx, row)


def list_ec2(tx: Tx, context: Context, user_id: str) -> list[Credential]:
    """A user's EC2 keys."""
    reach_user(tx, context, user_id, "identity:ec2_list_credentials")
    rows = CREDENTIALS.list(tx, user_id=user_id, type=EC2, order="id", limit=FETCH_MOST)
    return [row for row in rows if _is_within(context, row.project_id)]


def _reach_ec2(tx: Tx, context: Context, user_id: str, access: str, verb: str) -> Credential:
    row = CREDENTIALS.find(tx, id=digest_of(access), type=EC2)
    if row is None:
        raise missing("credential", access)
    # By its owner, whatever user the path names: upstream looks keys up by themselves.
    context.enforce(f"identity:ec2_{verb}_credential", **_target(row.user_id))
    _check_within(context, row.project_id)
    need_user(tx, user_id)
    return row


def get_ec2(tx: Tx, context: Context, user_id: str, access: str) -> Credential:
    """One pair of EC2 keys."""
    return _reach_ec2(tx, context, user_id, access, "get")


def delete_ec2(tx: Tx, context: Context, user_id: str, access: str) -> None:
    """Forget a pair of EC2 keys."""
    row = _reach_ec2(tx, context, user_id, access, "delete")
    check_not_delegated(context)
    CREDENTIALS.delete(tx, row.id)


def find_ec2(tx: Tx, access: str) -> Credential | None:
    """The credential of an access key, for verifying a signature."""
    return CREDENTIALS.find(tx, id=digest_of(access), type=EC2)
