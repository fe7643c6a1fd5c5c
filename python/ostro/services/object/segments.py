"""Large objects made of others: static ones by a manifest that lists segments, dynamic ones by the segments' common prefix.

Both keep nothing of their segments' bytes: they are looked up when they are read, and a static one says what each segment must still be.
Who may read a large object may not for that read its segments: whoever may write to one container could otherwise make it tell what
is in every other. So each segment's own container is asked, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid
from ostro.model.times import to_datetime
from ostro.services.cloud import Cloud
from ostro.services.object.containers import require_container
from ostro.services.object.downloads import extents_of, read_extents
from ostro.services.object.errors import Missing
from ostro.services.object.limits import LISTING_MOST, SEGMENTS_MOST
from ostro.services.object.listings import after_all
from ostro.services.object.objects import Found, Place, find_object, get_object
from ostro.store.database import Tx
from ostro.store.objects import BodyKind, StoredObject, list_names

DEPTH_MOST = 10
"""Manifests within manifests."""


class SegmentSpec(msgspec.Struct, frozen=True):
    """One line of a manifest as a client sends it."""

    path: str
    etag: str | None = None
    size_bytes: int | None = None
    range: str | None = None


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a manifest as it is kept and shown. ``range`` is ``first-last``."""

    name: str
    hash: str
    bytes: int
    content_type: str
    last_modified: str
    range: str = ""
    sub_slo: bool = False


Admit = Callable[[Place], Awaitable[None]]
"""Raises Forbidden, or Unauthenticated, unless whoever asks may read what is there."""


class Fault(msgspec.Struct, frozen=True):
    """Why a segment can't be used."""

    path: str
    reason: str


class BadManifest(Invalid):
    """The manifest, or some of its segments, can't be used."""


_SPECS = msgspec.json.Decoder(list[SegmentSpec])
_SEGMENTS = msgspec.json.Decoder(list[Segment])


def parse_manifest(data: bytes) -> list[SegmentSpec]:
    """The segments that a client asks for. Raises BadManifest."""
    try:
        specs = _SPECS.decode(data)
    except msgspec.MsgspecError as error:
        raise BadManifest(f"Manifest must be valid JSON.\n{error}\n") from error
    if not specs:
        raise BadManifest("Manifest must have at least one data segment.\n")
    if len(specs) > SEGMENTS_MOST:
        raise BadManifest(f"Number of segments must be <= {SEGMENTS_MOST}.\n")
    for i, spec in enumerate(specs):
        if not all(spec.path.lstrip("/").partition("/")):
            raise BadManifest(
                f"Index {i}: path does not refer to an object. Path must be of the form /container/object.\n"
            )
    return specs


def decode_segments(row: bytes) -> list[Segment]:
    """The segments of a manifest that is kept."""
    return _SEGMENTS.decode(row)


def encode_segments(segments: Sequence[Segment]) -> bytes:
    """A manifest as it is kept, and shown to who asks for it."""
    return msgspec.json.encode(list(segments))


def place_of(project_id: str, path: str) -> Place:
    """``/container/object`` within an account."""
    container, _, name = path.lstrip("/").partition("/")
    return Place(project_id, container.encode(), name.encode())


def span_of(segment: Segment) -> tuple[int, int]:
    """(start, end) of the part of the segment's object that is meant."""
    if not segment.range:
        return 0, segment.bytes
    first, _, last = segment.range.partition("-")
    return int(first), int(last) + 1


def length_of(segment: Segment) -> int:
    """How many bytes the segment adds."""
    start, end = span_of(segment)
    return end - start


def resolve_segments(
    tx: Tx, context: Context, project_id: str, specs: Sequence[SegmentSpec]
) -> tuple[list[Segment], list[Fault]]:
    """The segments as they are now, and what is wrong with those that aren't as they should be."""
    segments: list[Segment] = []
    faults: list[Fault] = []
    for spec in specs:
        try:
            found = find_object(tx, context, place_of(project_id, spec.path), with_body=False)
        except Missing:
            found = None
        reason = _compare(spec, found)
        if reason or found is None:
            faults.append(Fault(spec.path, reason or "404 Not Found"))
            continue
        stored = found.stored
        segments.append(
            Segment(
                name="/" + spec.path.lstrip("/"),
                hash=stored.etag,
                bytes=stored.size_bytes,
                content_type=stored.content_type,
                last_modified=to_datetime(stored.created_at_us).strftime("%Y-%m-%dT%H:%M:%S.%f"),
                range=_clean_range(spec.range, stored.size_bytes),
                sub_slo=stored.kind is BodyKind.STATIC,
            )
        )
    return segments, faults


def _compare(spec: SegmentSpec, found: Found | None) -> str:
    """Why the segment isn't what the client says; empty when it is."""
    if found is None:
        return "404 Not Found"
    if spec.etag and spec.etag.strip('"') != found.stored.etag:
        return "Etag Mismatch"
    if spec.size_bytes is not None and spec.size_bytes != found.stored.size_bytes:
        return "Size Mismatch"
    if spec.range is not None and not _clean_range(spec.range, found.stored.size_bytes):
        return "Unsatisfiable Range"
    if spec.range is None and found.stored.size_bytes == 0:
        return "Too Small; each segment must be at least 1 byte."
    return ""


def _clean_range(text: str | None, size_bytes: int) -> str:
    """``first-last`` of a range within an object; empty when there is none or it can't be satisfied."""
    if not text:
        return ""
    first, dash, last = text.partition("-")
    if not dash or not (first + last).isdigit():
        return ""
    start = int(first) if first else max(0, size_bytes - int(last))
    end = size_bytes if not first or not last else min(size_bytes, int(last) + 1)
    return f"{start}-{end - 1}" if start < end else ""


def static_etag(segments: Sequence[Segment]) -> str:
    """The MD5 of the segments' ETags, with their ranges where they have some."""
    text = "".join(f"{s.hash}:{s.range};" if s.range else s.hash for s in segments)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def dynamic_segments(tx: Tx, context: Context, project_id: str, manifest: str) -> list[Segment]:
    """The objects that ``container/prefix`` names, in order. A container that isn't there has none."""
    place = place_of(project_id, manifest)
    try:
        container = require_container(tx, project_id, place.container)
    except Missing:
        return []
    rows = list_names(tx, container.id, low=place.name, high=after_all(place.name), limit=LISTING_MOST, reverse=False)
    return [_dynamic_segment(place.container, row) for row in rows]


def _dynamic_segment(container: bytes, stored: StoredObject) -> Segment:
    name = "/" + container.decode() + "/" + stored.name.decode()
    return Segment(name, stored.etag, stored.size_bytes, stored.content_type, "")


async def read_segments(
    cloud: Cloud,
    context: Context,
    admit: Admit,
    project_id: str,
    segments: Sequence[Segment],
    start: int,
    end: int,
    depth: int = 0,
) -> AsyncGenerator[bytes, None]:
    """Bytes ``start`` up to ``end`` of the segments put together.

    Raises Conflict when one isn't any more what it was, and what ``admit`` raises.
    """
    if depth > DEPTH_MOST:
        raise Conflict("Max recursion depth exceeded")
    at = 0
    for segment in segments:
        length = length_of(segment)
        low, high = max(start - at, 0), min(end - at, length)
        at += length
        if low >= high:
            continue
        place = place_of(project_id, segment.name)
        await admit(place)
        found = await cloud.db.read(get_object, context, place)
        if found.stored.etag != segment.hash or found.stored.size_bytes != segment.bytes:
            raise Conflict(f"{segment.name} is not what it was when the manifest was made.")
        first = span_of(segment)[0]
        async with aclosing(
            read_found(cloud, context, admit, project_id, found, first + low, first + high, depth + 1)
        ) as pieces:
            async for piece in pieces:
                yield piece


async def read_found(
    cloud: Cloud,
    context: Context,
    admit: Admit,
    project_id: str,
    found: Found,
    start: int,
    end: int,
    depth: int = 0,
) -> AsyncGenerator[bytes, None]:
    """Bytes ``start`` up to ``end`` of any object, large or not."""
    if found.stored.kind is BodyKind.STATIC:
        source = read_segments(cloud, context, admit, project_id, decode_segments(found.body), start, end, depth)
    else:
        source = read_extents(cloud.chunks.store, extents_of(found, start, end))
    async with aclosing(source) as pieces:
        async for piece in pieces:
            yield piece
