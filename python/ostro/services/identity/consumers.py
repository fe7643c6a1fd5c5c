"""OAuth 1.0a consumers: programs that may ask users for access. Their secrets are sealed by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.services.identity.access import missing
from ostro.store.database import Tx
from ostro.store.oauth1 import CONSUMERS, Consumer
from ostro.store.paging import Page, list_page
from ostro.store.tokens import TOPIC


def _need(tx: Tx, id_: str) -> Consumer:
    found = CONSUMERS.find(tx, id=id_)
    if found is None:
        raise missing("consumer", id_)
    return found


def create_consumer(
    tx: Tx, context: Context, given: Mapping[str, Any], extra: Mapping[str, Any], sealed_secret: str
) -> Consumer:
    """Add a consumer."""
    context.enforce("identity:create_consumer")
    row = Consumer(context.new_hex_id(), sealed_secret, given.get("description") or "", dict(extra))
    return CONSUMERS.insert(tx, row)


def get_consumer(tx: Tx, context: Context, id_: str) -> Consumer:
    """One of them."""
    context.enforce("identity:get_consumer")
    return _need(tx, id_)


def list_consumers(tx: Tx, context: Context, page: Page) -> list[Consumer]:
    """One page of them."""
    context.enforce("identity:list_consumers")
    return list_page(tx, CONSUMERS, page)


def update_consumer(tx: Tx, context: Context, id_: str, given: Mapping[str, Any], extra: Mapping[str, Any]) -> Consumer:
    """Change a consumer's description or extra fields; never its secret."""
    context.enforce("identity:update_consumer")
    row = _need(tx, id_)
    changes: dict[str, Any] = {"extra": {**row.extra, **extra}}
    if "description" in given:
        changes["description"] = given["description"] or ""
    CONSUMERS.update(tx, id_, **changes)
    return msgspec.structs.replace(row, **changes)


def delete_consumer(tx: Tx, context: Context, id_: str) -> None:
    """Delete a consumer, and what users gave it."""
    context.enforce("identity:delete_consumer")
    _need(tx, id_)
    CONSUMERS.delete(tx, id_)
    tx.ring(TOPIC)
