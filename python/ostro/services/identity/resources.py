"""Nouns that are created, shown, listed, changed and deleted, and whose only other rules are a check of what is given and a clean-up.

A ``Resource`` says what its fields are when they are not given and calls its ``check`` inside the transaction; the policy of each verb is
named as upstream names it, ``identity:create_<noun>`` and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, NotFound
from ostro.store.database import Tx
from ostro.store.paging import Page, list_page
from ostro.store.table import Table
from ostro.store.tokens import TOPIC

T = TypeVar("T", bound=msgspec.Struct)
Given = Mapping[str, Any]


def nothing_to_check(_tx: Tx, _context: Context, _given: Given, _present: Any) -> None:
    """Whatever fits the schema is fine."""


def nothing_to_remove(_tx: Tx, _row: Any) -> None:
    """Nothing points to these."""


@dataclass(frozen=True)
class Resource(Generic[T]):
    """One noun. ``defaults`` names its fields besides the id; None given for one means its default."""

    table: Table[T]
    noun: str
    plural: str
    defaults: Mapping[str, Any]
    check: Callable[[Tx, Context, Given, Any], None] = nothing_to_check
    """``check(tx, context, fields, present)``: raises for what may not be; ``present`` is None when creating."""
    removed: Callable[[Tx, Any], None] = nothing_to_remove
    rings: bool = False
    """Whether a change can alter what a token shows."""

    @property
    def spoken(self) -> str:
        """The noun in messages."""
        return self.noun.replace("_", " ")

    @property
    def fields(self) -> tuple[str, ...]:
        """What the API calls its own; anything else given is kept as extra."""
        return tuple(self.defaults)

    def need(self, tx: Tx, id_: str) -> T:
        """The row. Raises NotFound."""
        row = self.table.find(tx, id=id_)
        if row is None:
            raise NotFound(self.spoken, id_, f"Could not find {self.spoken}: {id_}.")
        return row

    def _plain(self, given: Given) -> dict[str, Any]:
        return {k: self.defaults[k] if v is None else v for k, v in given.items() if k in self.defaults}

    def _ring(self, tx: Tx) -> None:
        if self.rings:
            tx.ring(TOPIC)

    def create(self, tx: Tx, context: Context, given: Given, extra: Given, id_: str = "") -> T:
        """Add one, under ``id_`` or a new id. Raises Conflict when the id is taken."""
        context.enforce(f"identity:create_{self.noun}")
        fields = {**self.defaults, **self._plain(given)}
        self.check(tx, context, fields, None)
        fields["id"] = id_ or context.new_hex_id()
        if "extra" in self.table.columns:
            fields["extra"] = {key: value for key, value in extra.items() if value is not None}
        row = msgspec.convert(fields, self.table.type)
        if not self.table.insert_new(tx, row):
            raise Conflict(f"Conflict occurred attempting to store {self.spoken} - Duplicate entry found.")
        self._ring(tx)
        return row

    def get(self, tx: Tx, context: Context, id_: str) -> T:
        """One of them. Raises NotFound."""
        context.enforce(f"identity:get_{self.noun}")
        return self.need(tx, id_)

    def list(self, tx: Tx, context: Context, page: Page) -> list[T]:
        """One page of them."""
        context.enforce(f"identity:list_{self.plural}")
        return list_page(tx, self.table, page)

    def update(self, tx: Tx, context: Context, id_: str, given: Given, extra: Given) -> T:
        """Change one; an extra field that is None is removed."""
        context.enforce(f"identity:update_{self.noun}")
        present = self.need(tx, id_)
        changes = self._plain(given)
        fields = {name: getattr(present, name) for name in self.defaults} | changes
        self.check(tx, context, fields, present)
        if "extra" in self.table.columns:
            merged = {**present.extra, **extra}  # type: ignore[attr-defined]
            changes["extra"] = {key: value for key, value in merged.items() if value is not None}
        if changes:
            self.table.update(tx, id_, **changes)
        self._ring(tx)
        return msgspec.structs.replace(present, **changes)

    def delete(self, tx: Tx, context: Context, id_: str) -> None:
        """Delete one, and what points to it."""
        context.enforce(f"identity:delete_{self.noun}")
        row = self.need(tx, id_)
        self.removed(tx, row)
        self.table.delete(tx, id_)
        self._ring(tx)
