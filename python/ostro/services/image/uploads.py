"""Uploads: from a stream of bytes to an active image.

The bytes go to a draft of the upload's own (`ostro.services.image.files`). MD5 and SHA-512 are computed side by side in worker threads while the next piece arrives, and the
header is looked at as soon as it is there. Three short transactions frame it: ``begin`` takes the image (queued -> saving), ``finish``
makes it active, ``abort`` puts it back to queued. Each is fenced by the upload's id, so of two uploads one is refused, and one
that was overtaken by a delete comes to nothing. However an upload ends, its draft is either the image's bytes or gone, and no process takes it to
be under way any more; what a crash leaves is put right by ``sweep_images``.

A deleted image is freed at once when nobody needs it: by the request that deletes it, and else by whoever listens for ``FREE_TOPIC``, which rings
when its last hold goes, or its upload ends.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from ostro._core import IMAGE_HEADER_BYTES, Hasher, inspect_image
from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NoCapacity, OstroError, TooLarge
from ostro.model.images import UNKNOWN_BYTES, ImageStatus
from ostro.runtime.threads import Pool
from ostro.services.cloud import Cloud
from ostro.services.image.files import ImageDraft
from ostro.services.image.images import get_changeable_image
from ostro.services.image.quotas import check_bytes, check_upload
from ostro.store.controllers import (
    add_live_upload,
    end_live_upload,
    forget_live_uploads,
    list_live_uploads,
    touch_uploads,
)
from ostro.store.database import Tx
from ostro.store.images import (
    FREE_TOPIC,
    IMAGES,
    Image,
    find_free_image,
    list_free_images,
    list_upload_ids,
    list_uploads,
)

log = structlog.get_logger()

IMAGE_MOST_BYTES = 1 << 40
FLUSH_MOST_S = 600.0
UPLOAD_GONE_S = 120.0
"""An upload that its process hasn't told of for so long is dead: it tells of it oftener by far."""
FREE_MOST = 100
"""Deleted images freed after one look at the rows."""
DIGESTS = Pool("image-digest", 4)
WRITES = Pool("image-write", 4)
ALIKE = {"ami": "raw", "ari": "raw", "aki": "raw"}
"""Formats that look like another one in their header."""


class StorageFull(TooLarge):
    """The disk has no room for the image."""


class Gone(OstroError):
    """The image was deleted while its bytes came."""

    status = 410


class BadContent(Invalid):
    """The bytes are not what the image's record says, or must not be opened."""

    status = 415


@dataclass(frozen=True)
class Received:
    """What is known once the last byte is written."""

    size_bytes: int
    virtual_size_bytes: int
    md5: str
    sha512: str


def begin_upload(tx: Tx, context: Context, image_id: str, upload_id: str, length_bytes: int | None = None) -> Image:
    """Take the image for this upload. Raises NotFound, Forbidden, Invalid without formats, Conflict when it isn't queued, OverLimit."""
    image = get_changeable_image(tx, context, image_id)
    if not image.disk_format or not image.container_format:
        raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
    check_upload(tx, context, image.owner_id, length_bytes)
    changes = {"status": ImageStatus.SAVING, "upload_id": upload_id, "updated_at_us": context.now_us}
    if not IMAGES.update_where(tx, changes, id=image_id, status=ImageStatus.QUEUED):
        raise Conflict(f"Image status transition from {image.status} to saving is not allowed")
    add_live_upload(tx, upload_id, context.now_us)
    return image


def finish_upload(tx: Tx, context: Context, image_id: str, upload_id: str, received: Received) -> bool:
    """The bytes are in place: the image is active, the upload at its end. False when the image is no longer this upload's. Raises OverLimit."""
    image = IMAGES.find(tx, id=image_id, upload_id=upload_id)
    if image is not None:
        check_bytes(tx, context, image.owner_id, received.size_bytes)
    changes = {
        "status": ImageStatus.ACTIVE,
        "size_bytes": received.size_bytes,
        "virtual_size_bytes": received.virtual_size_bytes,
        "checksum": received.md5,
        "sha512": received.sha512,
        "updated_at_us": context.now_us,
    }
    if not IMAGES.update_where(tx, changes, id=image_id, upload_id=upload_id, status=ImageStatus.SAVING):
        return False
    end_live_upload(tx, upload_id)
    return True


def end_upload(tx: Tx, image_id: str, upload_id: str) -> None:
    """The upload came to nothing and has left nothing. Idempotent."""
    end_live_upload(tx, upload_id)
    if find_free_image(tx, image_id) is not None:
        tx.ring(FREE_TOPIC)


def abort_upload(tx: Tx, image_id: str, upload_id: str) -> bool:
    """The upload came to nothing: the image waits for another one. Idempotent.

    False when the image does have this upload's bytes after all, because a commit that seemed to fail had not.
    """
    changes = {"status": ImageStatus.QUEUED, "upload_id": ""}
    IMAGES.update_where(tx, changes, id=image_id, upload_id=upload_id, status=ImageStatus.SAVING)
    image = IMAGES.find(tx, id=image_id, upload_id=upload_id)
    return image is None or image.size_bytes == UNKNOWN_BYTES


class _Sink:
    """Where the bytes of one upload go: into a draft, through two digests."""

    def __init__(self, cloud: Cloud, image: Image, upload_id: str) -> None:
        self._cloud = cloud
        self.image = image
        self.upload_id = upload_id
        self._draft: ImageDraft | None = None
        self._md5 = Hasher("md5")
        self._sha512 = Hasher("sha512")
        self._header = bytearray()
        self._inspected = False
        self._virtual_bytes = UNKNOWN_BYTES
        self.size_bytes = 0

    def open(self, length_bytes: int | None) -> None:
        """Make the draft and, if the length is known, take its room now."""
        self._draft = self._cloud.images.create(self.upload_id, self.image.disk_format, length_bytes)

    async def take(self, data: bytes) -> None:
        """The next bytes: one digest in one thread, the write and the other digest in a second one."""
        self.size_bytes += len(data)
        if self.size_bytes > IMAGE_MOST_BYTES:
            raise TooLarge(f"The image is larger than {IMAGE_MOST_BYTES} bytes.")
        if not self._inspected:
            self._header += data[: IMAGE_HEADER_BYTES - len(self._header)]
            if len(self._header) >= IMAGE_HEADER_BYTES:
                self._inspect()
        threads = self._cloud.world.threads
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(threads.run, DIGESTS, self._sha512.update, data)
                await threads.run(WRITES, self._write, data)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _write(self, data: bytes) -> None:
        assert self._draft is not None, "opened first"
        self._draft.write(data)
        self._md5.update(data)

    def _inspect(self) -> None:
        """Refuse what isn't what it was said to be, or is dangerous to open."""
        self._inspected = True
        if self.image.container_format != "bare":
            return
        found = inspect_image(bytes(self._header))
        if not found["safe"]:
            raise BadContent("The image is refused: " + "; ".join(found["dangers"]))
        declared = ALIKE.get(self.image.disk_format, self.image.disk_format)
        if found["format"] != declared:
            raise BadContent(
                f"Image content does not match disk_format: it was declared {self.image.disk_format} "
                f"and its header says {found['format']}."
            )
        if found["virtual_size_bytes"] is not None and found["format"] != "raw":
            self._virtual_bytes = found["virtual_size_bytes"]

    def finish(self) -> Received:
        """Publish the draft."""
        if not self._inspected:
            self._inspect()
        assert self._draft is not None, "opened first"
        self._draft.publish(self.size_bytes)
        virtual = self.size_bytes if self._virtual_bytes == UNKNOWN_BYTES else self._virtual_bytes
        return Received(self.size_bytes, virtual, self._md5.hexdigest("md5"), self._sha512.hexdigest("sha512"))

    def close(self) -> None:
        """Let go of the draft. Idempotent."""
        if self._draft is not None:
            self._draft.close()


async def receive_image(
    cloud: Cloud, context: Context, image_id: str, body: AsyncIterator[bytes], *, length_bytes: int | None
) -> None:
    """Make ``body`` the bytes of a queued image. Whatever ends it early, the image is queued again and no bytes are left.

    Raises Conflict for an image that isn't queued, BadContent, StorageFull, TooLarge, OverLimit, Gone when the image was deleted meanwhile.
    """
    begin = partial(_begin, image_id=image_id)
    await receive_bytes(cloud, context, begin, abort_upload, body, length_bytes=length_bytes)


def _begin(tx: Tx, context: Context, upload_id: str, length_bytes: int | None, *, image_id: str) -> Image:
    return begin_upload(tx, context, image_id, upload_id, length_bytes)


async def receive_bytes(
    cloud: Cloud,
    context: Context,
    begin: Callable[[Tx, Context, str, int | None], Image],
    abort: Callable[[Tx, str, str], bool],
    body: AsyncIterator[bytes],
    *,
    length_bytes: int | None,
) -> None:
    """Make ``body`` the bytes of the image that ``begin`` takes for a new upload; ``abort`` says that it came to nothing.

    Raises as `receive_image`, and what ``begin`` raises.
    """
    if length_bytes is not None and length_bytes > IMAGE_MOST_BYTES:
        raise TooLarge(f"The image is larger than {IMAGE_MOST_BYTES} bytes.")
    upload_id = context.new_id()
    image: Image | None = None
    done = False
    try:
        with cloud.images.upload(upload_id):
            image = await cloud.db.run(begin, context, upload_id, length_bytes)
            sink = _Sink(cloud, image, upload_id)
            try:
                done = await _keep(cloud, context, sink, body, length_bytes)
            finally:
                with trio.CancelScope(shield=True):
                    await cloud.world.threads.run(WRITES, sink.close)
                    if not done and await cloud.db.run(abort, image.id, upload_id):
                        await cloud.images.remove(upload_id)
        if not done:
            raise Gone(f"Image {image.id} was deleted while its data was uploaded.")
    finally:
        # Not before this process, too, has let go of it.
        if image is not None and not done:
            with trio.CancelScope(shield=True):
                await cloud.db.run(end_upload, image.id, upload_id)


async def _keep(
    cloud: Cloud, context: Context, sink: _Sink, body: AsyncIterator[bytes], length_bytes: int | None
) -> bool:
    """Write all that comes and make the image active; False when it is no longer the upload's."""
    try:
        await _fill(cloud, sink, body, length_bytes)
        # From here on it comes to an end even if the client goes away.
        with trio.CancelScope(shield=True):
            received = await cloud.world.threads.run(WRITES, sink.finish, deadline_s=FLUSH_MOST_S)
            done = await cloud.db.run(finish_upload, context, sink.image.id, sink.upload_id, received)
    except (OSError, NoCapacity) as error:
        raise _full_or_broken(error) from error
    return done


async def _fill(cloud: Cloud, sink: _Sink, body: AsyncIterator[bytes], length_bytes: int | None) -> None:
    await cloud.world.threads.run(WRITES, sink.open, length_bytes)
    async for data in body:
        await sink.take(data)
    if length_bytes is not None and sink.size_bytes != length_bytes:
        raise Invalid(f"The image has {sink.size_bytes} bytes, {length_bytes} were announced.")


def _full_or_broken(error: OSError | NoCapacity) -> Exception:
    if isinstance(error, NoCapacity) or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull("Image storage media is full.", detail=str(error))
    return error


async def _is_live(cloud: Cloud, upload_id: str) -> bool:
    """Whether the upload is under way in this process, or in another that serves this cloud."""
    if cloud.images.is_live(upload_id) or cloud.config.alone:
        return cloud.images.is_live(upload_id)
    return upload_id in await cloud.db.read(list_live_uploads, cloud.world.now_us() - int(UPLOAD_GONE_S * 1e6))


async def tell_uploads(cloud: Cloud) -> None:
    """Let other processes know of the uploads that are under way in this one."""
    if live := cloud.images.live():
        await cloud.db.run(touch_uploads, live, cloud.world.now_us())


async def sweep_images(cloud: Cloud) -> None:
    """Put right what crashes left behind."""
    await cloud.db.run(forget_live_uploads, cloud.world.now_us() - int(UPLOAD_GONE_S * 2e6))
    for image_id, upload_id in await cloud.db.read(list_uploads):
        if not await _is_live(cloud, upload_id):
            await cloud.db.run(abort_upload, image_id, upload_id)
    # Files first, rows second: a file that comes in between is not in the list.
    present = await cloud.world.threads.run(WRITES, cloud.images.list)
    known = await cloud.db.read(list_upload_ids)
    for upload_id in present - known:
        if not await _is_live(cloud, upload_id):
            with _later(upload_id):
                await cloud.images.remove(upload_id)


@contextmanager
def _later(upload_id: str) -> Iterator[None]:
    """What is open for longer than a moment is removed by a later round, and holds up no other."""
    try:
        yield
    except Conflict as error:
        log.warning("the bytes of an image are in use and are removed later", upload_id=upload_id, reason=error.message)


async def free_deleted_images(cloud: Cloud) -> None:
    """Free all deleted images that nobody needs."""
    kept, more = 0, True
    while more:
        found = await cloud.db.read(list_free_images, FREE_MOST, kept)
        for image_id, upload_id in found:
            kept += 1
            with _later(upload_id):
                kept -= await _free(cloud, image_id, upload_id)
        more = len(found) == FREE_MOST


async def free_image(cloud: Cloud, image_id: str) -> None:
    """Free the image if it is deleted and nobody needs it. Raises Conflict while somebody has its bytes open to write, Unavailable."""
    found = await cloud.db.read(find_free_image, image_id)
    if found is not None:
        await _free(cloud, *found)


async def _free(cloud: Cloud, image_id: str, upload_id: str) -> bool:
    """Remove the bytes of a deleted image that no host holds, and then its record; False while it is uploaded."""
    if await _is_live(cloud, upload_id):
        return False
    if upload_id:
        await cloud.images.remove(upload_id)
    await cloud.db.run(forget_image, image_id)
    return True


def forget_image(tx: Tx, image_id: str) -> None:
    """Remove the record of a deleted image."""
    IMAGES.delete_where(tx, id=image_id, status=ImageStatus.DELETED)
