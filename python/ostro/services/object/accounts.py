"""Accounts: one for each project, there from the start and empty."""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.context import Context
from ostro.services.object.listings import Listing, Query, Range, list_entries
from ostro.store.database import Tx
from ostro.store.object_accounts import ACCOUNTS, ObjectAccount
from ostro.store.object_containers import ObjectContainer, list_container_names, sum_account


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """An account and what it holds."""

    account: ObjectAccount
    containers: int
    objects: int
    bytes_used: int


def get_account(tx: Tx, context: Context, project_id: str) -> AccountDetails:
    """The account of a project; one that was never written to is made at this moment, as upstream says."""
    account = ACCOUNTS.find(tx, project_id=project_id) or ObjectAccount(project_id, {}, context.now_us)
    return AccountDetails(account, *sum_account(tx, project_id))


def update_account(tx: Tx, context: Context, project_id: str, changes: dict[str, str]) -> None:
    """Set headers of an account, or take off those with an empty value."""
    ACCOUNTS.insert_new(tx, ObjectAccount(project_id, {}, context.now_us))
    account = ACCOUNTS.get(tx, project_id)
    ACCOUNTS.update(tx, project_id, headers=merge_headers(account.headers, changes))


def merge_headers(old: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """``old`` with ``changes``; an empty value takes a header off."""
    return {name: value for name, value in {**old, **changes}.items() if value}


def list_containers(
    tx: Tx, context: Context, project_id: str, query: Query
) -> tuple[AccountDetails, Listing[ObjectContainer]]:
    """An account, and a page of its containers."""

    def read(names: Range, limit: int) -> list[ObjectContainer]:
        return list_container_names(tx, project_id, low=names.low, high=names.high, limit=limit, reverse=query.reverse)

    details = get_account(tx, context, project_id)
    return details, list_entries(query, read, _name_of)


def _name_of(container: ObjectContainer) -> bytes:
    return container.name
