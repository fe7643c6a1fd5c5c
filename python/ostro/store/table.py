"""Rows as frozen structs.

A ``Table`` ties a SQL table to a msgspec struct whose fields are its columns, in order and by name. ``bool`` is stored as
INTEGER, lists, dicts and structs as JSON text, enums by value. It writes the plain statements, so that a store module
holds only what is particular about its noun.

Conditions are given by column: ``None`` is IS NULL, a list or set is IN, anything else is equality.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, List, TypeVar  # noqa: UP035 - the method `list` hides the builtin

import msgspec

from ostro.model.errors import NotFound
from ostro.store.database import Params, Row, Tx

T = TypeVar("T", bound=msgspec.Struct)

ROWS_AT_ONCE = 100
"""In one statement: engines bound how many parameters one may have."""
_PLAIN = (str, int, float, bytes)


def _codec(kind: Any) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    """(encode, decode) of one column; None where the value passes as it is."""
    optional = False
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        members = [m for m in typing.get_args(kind) if m is not type(None)]
        assert len(members) == 1, f"column of type {kind}"
        optional, kind = True, members[0]
    if kind in _PLAIN:
        return None, None
    if kind is bool:
        encode: Callable[[Any], Any] = int
        decode: Callable[[Any], Any] = bool
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        encode, decode = _enum_value, kind
    else:
        decode = msgspec.json.Decoder(kind).decode
        encode = _to_json
    if not optional:
        return encode, decode
    return (lambda v: None if v is None else encode(v)), (lambda v: None if v is None else decode(v))


def _enum_value(value: Any) -> Any:
    # A filter may name a value that the enum doesn't have; it matches nothing.
    return value.value if isinstance(value, enum.Enum) else value


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Table(Generic[T]):
    """One table.

    ``noun`` names its objects in NotFound; ``key`` is the primary key's column. A change of rows rings the doorbell ``rings``. ``part`` is
    the column whose values name the parts of the table (``Tx.foresee``), the key unless told otherwise.
    """

    def __init__(
        self, name: str, type_: type[T], *, key: str = "id", noun: str | None = None, rings: str = "", part: str = ""
    ) -> None:
        self.name = name
        self.type = type_
        self.key = key
        self.part = part or key
        self._rings = rings
        self.noun = noun or name.rstrip("s")
        fields = msgspec.structs.fields(type_)
        self.columns = tuple(f.name for f in fields)
        codecs = {f.name: _codec(f.type) for f in fields}
        self._encode = {column: codec[0] for column, codec in codecs.items() if codec[0] is not None}
        self._encode_at = tuple((i, e) for i, c in enumerate(self.columns) if (e := codecs[c][0]) is not None)
        self._decode = tuple((i, d) for i, c in enumerate(self.columns) if (d := codecs[c][1]) is not None)
        self.select_list = ", ".join(f"{name}.{column}" for column in self.columns)
        marks = ", ".join("?" * len(self.columns))
        self._insert = f"INSERT INTO {name} ({', '.join(self.columns)}) VALUES ({marks})"

    def load(self, row: Row) -> T:
        """A row of ``select_list`` as a struct."""
        if not self._decode:
            return self.type(*row)
        values = list(row)
        for i, decode in self._decode:
            values[i] = decode(values[i])
        return self.type(*values)

    def value(self, column: str, value: Any) -> Any:
        """A value as this column stores it."""
        encode = self._encode.get(column)
        return value if encode is None else encode(value)

    def where(self, conditions: Mapping[str, Any]) -> tuple[str, List[Any]]:  # noqa: UP006
        """`` WHERE ...`` and its parameters; empty for no conditions."""
        parts: list[str] = []
        params: list[Any] = []
        for column, wanted in conditions.items():
            if wanted is None:
                parts.append(f"{self.name}.{column} IS NULL")
            elif isinstance(wanted, list | set | frozenset | tuple):
                values = [self.value(column, v) for v in wanted]
                parts.append(f"{self.name}.{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0")
                params.extend(values)
            else:
                parts.append(f"{self.name}.{column} = ?")
                params.append(self.value(column, wanted))
        return (" WHERE " + " AND ".join(parts) if parts else ""), params

    def select(self, tx: Tx, tail: str, params: Params = ()) -> List[T]:  # noqa: UP006
        """``SELECT <columns> FROM <table> <tail>``: for joins and conditions that the other methods don't have."""
        rows = tx.all(f"SELECT {self.select_list} FROM {self.name} {tail}", params)
        return [self.load(row) for row in rows]

    def _query(self, order: str, limit: int | None, conditions: Mapping[str, Any]) -> tuple[str, List[Any]]:  # noqa: UP006
        where, params = self.where(conditions)
        sql = f"SELECT {self.select_list} FROM {self.name}{where}" + (f" ORDER BY {order}" if order else "")
        if limit is not None:
            sql += " LIMIT ?"
            params.append(limit)
        return sql, params

    def _part(self, conditions: Mapping[str, Any]) -> str:
        """The part of the table that conditions are about; empty when it may be all of it."""
        value = conditions.get(self.part)
        return value if isinstance(value, str) else ""

    def list(self, tx: Tx, *, order: str = "", limit: int | None = None, **conditions: Any) -> List[T]:  # noqa: UP006
        """Rows that meet all conditions."""
        return [self.load(row) for row in tx.all(*self._query(order, limit, conditions))]

    def ask(self, tx: Tx, *, order: str = "", **conditions: Any) -> Callable[[], List[T]]:  # noqa: UP006
        """``list`` for whoever has more to ask before looking (``Tx.ask``)."""
        rows = tx.ask(*self._query(order, None, conditions))
        return lambda: [self.load(row) for row in rows()]

    def foresee(self, tx: Tx, *, order: str = "", limit: int | None = None, **conditions: Any) -> None:
        """``list``, ``ask``, ``find`` or ``get`` with these very arguments will be called (``Tx.foresee``)."""
        tx.foresee(*self._query(order, limit, conditions), part=self._part(conditions))

    def find(self, tx: Tx, **conditions: Any) -> T | None:
        """The one row that meets the conditions, or None."""
        row = tx.one(*self._query("", None, conditions))
        return None if row is None else self.load(row)

    def get(self, tx: Tx, id_: str, **conditions: Any) -> T:
        """The row with this key, which must also meet ``conditions``. Raises NotFound."""
        row = self.find(tx, **{self.key: id_, **conditions})
        if row is None:
            raise NotFound(self.noun, id_)
        return row

    def count(self, tx: Tx, **conditions: Any) -> int:
        """How many rows meet the conditions."""
        where, params = self.where(conditions)
        row = tx.one(f"SELECT count(*) FROM {self.name}{where}", params)
        assert row is not None
        return int(row[0])

    def count_where(self, tx: Tx, condition: str, params: Params = ()) -> int:
        """How many rows meet a condition that ``count`` can't say."""
        row = tx.one(f"SELECT count(*) FROM {self.name} WHERE {condition}", params)
        assert row is not None
        return int(row[0])

    def row(self, item: T) -> List[Any]:  # noqa: UP006
        """The item's values as its columns store them, in order."""
        values: List[Any] = list(msgspec.structs.astuple(item))  # noqa: UP006
        for i, encode in self._encode_at:
            values[i] = encode(values[i])
        return values

    def insert(self, tx: Tx, item: T) -> T:
        """Add a row; Duplicate ends the transaction if it is there."""
        self._send(tx, self._insert, self.row(item), part=self._part_of(item))
        return item

    def insert_all(self, tx: Tx, items: Iterable[T]) -> None:
        """Add rows with as few statements as there can be; Duplicate ends the transaction if one is there."""
        rows = [self.row(item) for item in items]
        marks = f"({', '.join('?' * len(self.columns))})"
        for at in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[at : at + ROWS_AT_ONCE]
            sql = f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES {', '.join([marks] * len(part))}"
            self._change(tx, sql, [value for row in part for value in row], part="")

    def _part_of(self, item: T) -> str:
        value = getattr(item, self.part)
        return value if isinstance(value, str) else ""

    def insert_new(self, tx: Tx, item: T) -> bool:
        """Add a row unless a unique constraint stands in the way; whether it was added."""
        sql = self._insert + " ON CONFLICT DO NOTHING"
        return self._change(tx, sql, self.row(item), part=self._part_of(item)) == 1

    def put_new(self, tx: Tx, item: T) -> None:
        """``insert_new`` for whoever need not know."""
        self._send(tx, self._insert + " ON CONFLICT DO NOTHING", self.row(item), part=self._part_of(item))

    def update(self, tx: Tx, id_: str, **changes: Any) -> None:
        """Change columns of the row with this key. Raises NotFound, here or at the next statement that is waited for."""
        self._send_update(tx, changes, {self.key: id_}, NotFound(self.noun, id_))

    def update_where(self, tx: Tx, changes: Mapping[str, Any], **conditions: Any) -> int:
        """Change columns of every row that meets the conditions (compare-and-swap); how many there were."""
        return self._change(tx, *self._update(changes, conditions), part=self._changed_part(changes, conditions))

    def set_where(self, tx: Tx, changes: Mapping[str, Any], **conditions: Any) -> None:
        """``update_where`` for whoever need not know how many there were."""
        self._send_update(tx, changes, conditions, None)

    def _send_update(
        self, tx: Tx, changes: Mapping[str, Any], conditions: Mapping[str, Any], missing: Exception | None
    ) -> None:
        part = self._changed_part(changes, conditions)
        self._send(tx, *self._update(changes, conditions), part=part, missing=missing)

    def _changed_part(self, changes: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
        """The part that an update is about: not one alone when it moves rows to another."""
        return "" if self.part in changes else self._part(conditions)

    def _update(self, changes: Mapping[str, Any], conditions: Mapping[str, Any]) -> tuple[str, List[Any]]:  # noqa: UP006
        sets = ", ".join(f"{column} = ?" for column in changes)
        where, params = self.where(conditions)
        values = [self.value(column, v) for column, v in changes.items()]
        return f"UPDATE {self.name} SET {sets}{where}", [*values, *params]

    def delete(self, tx: Tx, id_: str) -> bool:
        """Remove the row with this key; whether it was there."""
        return self.delete_where(tx, **{self.key: id_}) > 0

    def delete_where(self, tx: Tx, **conditions: Any) -> int:
        """Remove every row that meets the conditions; how many there were. Refuses to empty a table."""
        assert conditions, "delete_where needs a condition"
        where, params = self.where(conditions)
        return self._change(tx, f"DELETE FROM {self.name}{where}", params, part="")

    def remove_where(self, tx: Tx, **conditions: Any) -> None:
        """``delete_where`` for whoever need not know how many there were."""
        assert conditions, "remove_where needs a condition"
        where, params = self.where(conditions)
        self._send(tx, f"DELETE FROM {self.name}{where}", params, part="")

    def _send(self, tx: Tx, sql: str, params: Params, *, part: str, missing: Exception | None = None) -> None:
        if self._rings:
            tx.ring(self._rings)
        tx.send(sql, params, missing=missing, part=part)

    def _change(self, tx: Tx, sql: str, params: Params, *, part: str) -> int:
        if self._rings:
            tx.ring(self._rings)
        return tx.execute(sql, params, part=part)

    def by_key(self, items: Iterable[T]) -> dict[str, T]:
        """Rows indexed by their key."""
        return {getattr(item, self.key): item for item in items}
