"""A deleted image is freed as soon as nobody needs it: nobody waits for a sweep to come by."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ostro.model.errors import Conflict
from ostro.runtime.world import World
from ostro.services import sweeps
from ostro.services.agents.removal import remove_host
from ostro.services.cloud import Cloud, build_cloud
from ostro.services.image import uploads
from ostro.services.image.files import ImageFiles
from ostro.services.image.holds import drop_image, hold_image
from ostro.services.image.images import bury_image
from ostro.services.image.uploads import free_deleted_images, receive_image, tell_uploads
from ostro.services.sweeps import SWEEPS, run_sweeps
from ostro.store.database import Tx
from ostro.store.images import FREE_TOPIC, IMAGES
from ostro.testing.cloud import TestCloud
from ostro.testing.hosts import add_host

PATH = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
PATIENCE_S = 60.0


async def make(cloud: TestCloud, data: bytes = b"bytes") -> str:
    """An active image, or a queued one without bytes; its id."""
    body = {"name": "one", "disk_format": "raw", "container_format": "bare"}
    image_id = str((await cloud.as_admin.post(PATH, body)).json["id"])
    if data:
        assert (await cloud.as_admin.put(f"{PATH}/{image_id}/file", data=data, headers=OCTETS)).status == 204
    return image_id


async def delete(cloud: TestCloud, image_id: str) -> None:
    assert (await cloud.as_admin.delete(f"{PATH}/{image_id}")).status == 204


def has_row(tx: Tx, image_id: str) -> bool:
    return IMAGES.find(tx, id=image_id) is not None


def in_parts(cloud: TestCloud) -> Cloud:
    """The services of this process, one of several of the cloud."""
    object.__setattr__(cloud.cloud, "config", replace(cloud.cloud.config, alone=False))
    return cloud.cloud


class Rounds:
    """The sweep of deleted images, running as it does in the product but for its rhythm: a round comes by a ring or never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (sweep,) = (sweep for sweep in SWEEPS if sweep.topic == FREE_TOPIC)
        self._run = sweep.run
        self._told, self._heard = trio.open_memory_channel[None](math.inf)
        monkeypatch.setattr(sweeps, "SWEEPS", (replace(sweep, run=self._go, every_s=3600.0),))

    async def _go(self, cloud: Cloud) -> None:
        await self._run(cloud)
        self._told.send_nowait(None)

    async def one(self) -> None:
        """Return when a further round is over."""
        with trio.fail_after(PATIENCE_S):
            await self._heard.receive()


@pytest.fixture
async def rounds(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> Rounds:
    """The sweep at rest, after its first round."""
    running = Rounds(monkeypatch)
    cloud.nursery.start_soon(run_sweeps, cloud.cloud)
    await running.one()
    return running


async def test_an_upload_that_has_ended_is_under_way_in_no_process(cloud: TestCloud) -> None:
    """A cloud in parts took it for alive for two minutes, and kept the bytes of a deleted image for as long."""
    store = in_parts(cloud).images
    image_id = await make(cloud)
    await tell_uploads(cloud.cloud)
    assert len(store.list()) == 1
    await delete(cloud, image_id)
    assert store.list() == set() and not await cloud.db.read(has_row, image_id)


async def test_who_tells_of_an_upload_late_does_not_bring_it_back(cloud: TestCloud) -> None:
    parts = in_parts(cloud)
    image_id = await make(cloud)
    (upload_id,) = parts.images.list()
    with parts.images.upload(upload_id):
        # As if it had looked at what is under way before the last upload's end.
        await tell_uploads(parts)
    await delete(cloud, image_id)
    assert parts.images.list() == set()


async def test_what_another_process_uploads_is_left_alone_until_it_ends(cloud: TestCloud, rounds: Rounds) -> None:
    parts = in_parts(cloud)
    other = build_cloud(World(random=random.Random(2)), cloud.db, parts.config)
    begun, deleted = trio.Event(), trio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"half"
        begun.set()
        await deleted.wait()
        yield b"half"

    image_id = await make(cloud, b"")
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(uploads.Gone):
                await receive_image(other, cloud.admin_context(), image_id, body(), length_bytes=None)

        nursery.start_soon(receive)
        with trio.fail_after(PATIENCE_S):
            await begun.wait()
        await delete(cloud, image_id)
        await free_deleted_images(parts)
        assert len(parts.images.list()) == 1 and await cloud.db.read(has_row, image_id)
        deleted.set()
    await rounds.one()
    assert parts.images.list() == set() and not await cloud.db.read(has_row, image_id)


async def test_the_last_hold_goes_after_the_image(cloud: TestCloud, rounds: Rounds) -> None:
    image_id, (one, two) = await make(cloud), [(await add_host(cloud, name)).host_id for name in ("host-a", "host-b")]
    for host_id, holder_id in ((one, "s1"), (one, "s2"), (two, "s3")):
        await cloud.db.run(hold_image, host_id, image_id, holder_id)
    await delete(cloud, image_id)
    with cloud.db.doorbell.listen(FREE_TOPIC) as bell:
        for host_id, holder_id in ((one, "s1"), (one, "s2"), (one, "s2")):
            await cloud.db.run(drop_image, host_id, image_id, holder_id)
        assert not await bell.wait(0), "nobody is woken for nothing"
    assert len(cloud.cloud.images.list()) == 1
    await cloud.db.run(drop_image, two, image_id, "s3")
    await rounds.one()
    assert cloud.cloud.images.list() == set() and not await cloud.db.read(has_row, image_id)


async def test_the_holds_of_a_host_go_with_it(cloud: TestCloud, rounds: Rounds) -> None:
    image_id, host_id = await make(cloud), (await add_host(cloud, "host-a")).host_id
    await cloud.db.run(hold_image, host_id, image_id, "lost")
    await delete(cloud, image_id)
    await cloud.db.run(remove_host, cloud.admin_context(), cloud.cloud.placement, host_id)
    await rounds.one()
    assert cloud.cloud.images.list() == set()


async def test_an_image_that_comes_to_nothing(cloud: TestCloud, rounds: Rounds) -> None:
    """As when a host gives up making it of a volume: no request sees to it."""
    image_id = await make(cloud)
    for _twice in range(2):
        await cloud.db.run(bury_image, image_id, 5)
    await rounds.one()
    assert cloud.cloud.images.list() == set() and not await cloud.db.read(has_row, image_id)


class BusyFiles(ImageFiles):
    """Images of which some are open, and stay so."""

    def __init__(self, world: World, root: Path) -> None:
        super().__init__(world, root)
        self.busy: set[str] = set()

    async def remove(self, upload_id: str) -> None:
        if upload_id in self.busy:
            raise Conflict("It is in use.")
        await super().remove(upload_id)


async def test_one_that_is_open_holds_up_no_other(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BusyFiles(cloud.world, cloud.cloud.config.state_dir / "images")
    object.__setattr__(cloud.cloud, "images", store)
    monkeypatch.setattr(uploads, "FREE_MOST", 2)
    first = await make(cloud)
    store.busy = store.list()
    others = [await make(cloud) for _ in range(3)]
    assert (await cloud.as_admin.delete(f"{PATH}/{first}")).status == 409
    for image_id in others:
        await cloud.db.run(bury_image, image_id, 5)
    await free_deleted_images(cloud.cloud)
    assert store.list() == store.busy
    store.busy = set()
    await free_deleted_images(cloud.cloud)
    assert store.list() == set()
