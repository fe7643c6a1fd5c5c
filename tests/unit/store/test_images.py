"""Image rows, the terms they are found by, and holds, on both engines."""

from __future__ import annotations

import msgspec

from ostro.model.images import ImageStatus
from ostro.model.registration import Inventory
from ostro.store.database import Database, Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.images import (
    HOLDS,
    IMAGES,
    ImageHold,
    add_image,
    find_free_image,
    is_member,
    list_free_images,
    list_upload_ids,
    list_uploads,
    property_term,
    replace_image,
    tag_term,
)
from ostro.testing.images import IMAGE, put_image


def add_host(tx: Tx) -> None:
    HOSTS.insert(tx, Host("h", "h", 1, "i", "10.0.0.1", Inventory(4, 4096, 100, "fake", 1, ""), True, "", 0, 0))


def terms_of(tx: Tx, image_id: str) -> set[str]:
    return {row[0] for row in tx.all("SELECT term FROM image_terms WHERE image_id = ?", (image_id,))}


async def test_a_row_comes_back_as_it_was_and_its_id_is_taken(db: Database) -> None:
    image = msgspec.structs.replace(IMAGE, tags=["a", "ü"], properties={"os": "x\ny"}, size_bytes=1 << 50)
    assert await db.run(add_image, image) is True
    assert await db.read(lambda tx: IMAGES.get(tx, image.id)) == image
    assert await db.run(add_image, image) is False


async def test_terms_follow_the_row(db: Database) -> None:
    old = msgspec.structs.replace(IMAGE, tags=["a", "b"], properties={"k": "1"})
    new = msgspec.structs.replace(old, tags=["b", "c"], properties={"k": "2"}, name="other")
    await db.run(add_image, old)
    assert await db.read(terms_of, old.id) == {tag_term("a"), tag_term("b"), property_term("k", "1")}
    for _twice in range(2):
        await db.run(replace_image, old, new)
        old = new
        assert await db.read(terms_of, old.id) == {tag_term("b"), tag_term("c"), property_term("k", "2")}
        assert await db.read(lambda tx: IMAGES.get(tx, new.id)) == new


async def test_deleted_images_are_free_when_no_host_holds_them(db: Database) -> None:
    await db.run(lambda tx: put_image(tx, id="free", status=ImageStatus.DELETED, upload_id="u1"))
    await db.run(lambda tx: put_image(tx, id="held", status=ImageStatus.DELETED))
    await db.run(lambda tx: put_image(tx, id="used"))
    await db.run(add_host)
    await db.run(lambda tx: HOLDS.insert(tx, ImageHold("h", "held", "s")))
    assert await db.read(list_free_images, 10) == [("free", "u1")]
    found = [await db.read(find_free_image, id_) for id_ in ("free", "held", "used", "none")]
    assert found == [("free", "u1"), None, None, None]
    await db.run(lambda tx: HOLDS.delete_where(tx, image_id="held"))
    assert [id_ for id_, _ in await db.read(list_free_images, 10)] == ["free", "held"]
    assert len(await db.read(list_free_images, 1)) == 1
    assert [id_ for id_, _ in await db.read(list_free_images, 10, 1)] == ["held"]


async def test_uploads_under_way_and_done(db: Database) -> None:
    await db.run(lambda tx: put_image(tx, id="saving", status=ImageStatus.SAVING, upload_id="u1"))
    await db.run(lambda tx: put_image(tx, id="done", upload_id="u2"))
    await db.run(lambda tx: put_image(tx, id="queued", status=ImageStatus.QUEUED))
    assert await db.read(list_uploads) == [("saving", "u1")]
    assert await db.read(list_upload_ids) == {"u1", "u2"}
    assert not await db.read(is_member, "done", "p")
