"""Quotas of accounts and containers, which are their metadata as in Swift: bytes of an account, bytes and objects of a container.

What there is is summed in the transaction that adds to it, and only where a quota is set. An object that takes another's place asks for the
difference. An account's quota is its reseller's to set.
"""

from __future__ import annotations

from collections.abc import Mapping

from ostro.model.context import Context
from ostro.model.errors import Forbidden, Invalid, QuotaExceeded
from ostro.services.object.acls import RESELLERS
from ostro.store.database import Tx
from ostro.store.object_accounts import ACCOUNTS
from ostro.store.object_containers import ObjectContainer, add_counts, sum_account

ACCOUNT_BYTES = "X-Account-Meta-Quota-Bytes"
CONTAINER_BYTES = "X-Container-Meta-Quota-Bytes"
CONTAINER_COUNT = "X-Container-Meta-Quota-Count"


class OverQuota(QuotaExceeded):
    """An account or container would hold more than it may."""

    status = 413

    def __init__(self) -> None:
        super().__init__("Upload exceeds quota.")


def check_container_headers(changes: Mapping[str, str]) -> None:
    """Raise Invalid for a quota that is no number."""
    for name, what in ((CONTAINER_BYTES, "bytes"), (CONTAINER_COUNT, "count")):
        if _is_bad(changes.get(name, "")):
            raise Invalid(f"Invalid {what} quota.")


def check_account_headers(context: Context, changes: Mapping[str, str]) -> None:
    """Raise Forbidden for a quota that isn't the actor's to set, Invalid for one that is no number."""
    if ACCOUNT_BYTES not in changes:
        return
    if not (context.is_admin or context.actor.roles & RESELLERS):
        raise Forbidden("")
    if _is_bad(changes[ACCOUNT_BYTES]):
        raise Invalid("Invalid bytes quota.")


def _is_bad(text: str) -> bool:
    return bool(text) and not (text.isascii() and text.isdigit())


def _quota(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text else None


def check_room(tx: Tx, container: ObjectContainer, objects: int, bytes_: int) -> None:
    """Raise OverQuota unless the container and its account may hold so much more. What makes neither larger always may."""
    most_bytes, most_objects = _quota(container.headers, CONTAINER_BYTES), _quota(container.headers, CONTAINER_COUNT)
    if most_bytes is not None or most_objects is not None:
        held = add_counts(tx, [container])[0]
        if _passes(held.bytes_used, bytes_, most_bytes) or _passes(held.object_count, objects, most_objects):
            raise OverQuota()
    account = ACCOUNTS.find(tx, project_id=container.project_id)
    most_bytes = None if account is None else _quota(account.headers, ACCOUNT_BYTES)
    if most_bytes is not None and _passes(sum_account(tx, container.project_id)[2], bytes_, most_bytes):
        raise OverQuota()


def _passes(used: int, more: int, most: int | None) -> bool:
    return most is not None and more > 0 and used + more > most
