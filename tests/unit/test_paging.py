"""``store.paging``: every order and direction, pages that meet without gap or overlap."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from ostro.model.errors import Invalid
from ostro.store.database import Database, Tx
from ostro.store.paging import Filter, Op, Page, Sort, Where, escape_like, list_page
from ostro.store.table import Table


class Item(msgspec.Struct, frozen=True):
    id: str
    name: str
    size: int
    owner: str | None


ITEMS = Table("items", Item)
ALL = [Item(f"id{i:02}", "abc"[i % 3], i % 4, None if i % 5 else "me") for i in range(23)]


@pytest.fixture
async def items(db: Database) -> Database:
    """``db`` with a table of items."""

    def fill(tx: Tx) -> None:
        tx.execute("CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL, size BIGINT NOT NULL, owner TEXT)")
        for item in ALL:
            ITEMS.insert(tx, item)

    await db.run(fill)
    return db


def walk(tx: Tx, page: Page) -> list[Item]:
    """Every row, page by page."""
    out: list[Item] = []
    marker = ""
    while True:
        rows = list_page(tx, ITEMS, Page(page.limit, marker, page.sorts, page.filters))
        out += rows
        if len(rows) < page.limit:
            return out
        marker = rows[-1].id


SORTS = [
    (),
    (Sort("name"),),
    (Sort("name", True),),
    (Sort("size"), Sort("name", True)),
    (Sort("name", True), Sort("size"), Sort("id", True)),
]


@pytest.mark.parametrize(("sorts", "limit"), list(itertools.product(SORTS, (1, 4, 50))))
async def test_pages_meet(items: Database, sorts: tuple[Sort, ...], limit: int) -> None:
    whole = await items.read(walk, Page(1000, sorts=sorts))
    assert sorted(item.id for item in whole) == [item.id for item in ALL]
    keys = [tuple(getattr(item, s.column) for s in sorts) for item in whole]
    if sorts and len({s.descending for s in sorts}) == 1:
        assert keys == sorted(keys, reverse=sorts[0].descending)
    assert await items.read(walk, Page(limit, sorts=sorts)) == whole


async def test_page_reverse_is_the_page_before_the_marker(items: Database) -> None:
    whole = await items.read(walk, Page(1000, sorts=(Sort("name"),)))
    before = await items.read(list_page, ITEMS, Page(3, whole[10].id, (Sort("name"),), reverse=True))
    assert before == whole[7:10]


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        (Filter("name", "a"), lambda i: i.name == "a"),
        (Filter("name", "a", Op.NE), lambda i: i.name != "a"),
        (Filter("size", 2, Op.GE), lambda i: i.size >= 2),
        (Filter("size", [1, 3], Op.IN), lambda i: i.size in (1, 3)),
        (Filter("size", [], Op.IN), lambda i: False),
        (Filter("owner", None), lambda i: i.owner is None),
        (Filter("owner", None, Op.NE), lambda i: i.owner is not None),
        (Filter("id", escape_like("id0") + "%", Op.LIKE), lambda i: i.id.startswith("id0")),
        (Where("items.size + ? = 3", (1,)), lambda i: i.size == 2),
    ],
)
async def test_filters(items: Database, item: Filter | Where, wanted: object) -> None:
    rows = await items.read(walk, Page(5, filters=(item,)))
    assert callable(wanted)
    assert [row.id for row in rows] == [i.id for i in ALL if wanted(i)]


async def test_an_unknown_marker_is_invalid(items: Database) -> None:
    with pytest.raises(Invalid, match="marker"):
        await items.read(list_page, ITEMS, Page(1, "nothing"))


async def test_like_escapes(items: Database) -> None:
    rows = await items.read(walk, Page(5, filters=(Filter("id", escape_like("id_1") + "%", Op.LIKE),)))
    assert rows == []
