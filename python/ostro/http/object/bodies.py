"""Answers with an object's bytes: what an object is to its reader, conditions, and one or several ranges."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from ostro.http.faults import HTML, RangeNotSatisfiable, swift_page
from ostro.http.files import Span, parse_ranges
from ostro.http.object.conditions import judge_read, wants_range
from ostro.http.object.headers import object_headers, shown_etag
from ostro.http.object.service import admit_to, admit_to_containers
from ostro.http.request import Reply, Request
from ostro.http.route import Headers
from ostro.model.context import Context
from ostro.services.object.acls import Access
from ostro.services.object.objects import Found, Place, get_object
from ostro.services.object.segments import (
    Segment,
    decode_segments,
    dynamic_segments,
    length_of,
    read_found,
    read_segments,
    static_etag,
)
from ostro.services.object.segments import place_of as segment_place
from ostro.store.database import Tx
from ostro.store.objects import BodyKind, StoredObject

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Source:
    """An object as its reader sees it: bytes of its own, of its segments (``segments``), or of its manifest (``manifest``)."""

    place: Place
    found: Found
    size_bytes: int
    etag: str
    segments: Sequence[Segment] | None = None
    manifest: bytes | None = None

    @property
    def stored(self) -> StoredObject:
        return self.found.stored

    @property
    def plain_etag(self) -> str:
        """Without quotes, for comparing."""
        return self.etag.strip('"')

    @property
    def content_type(self) -> str:
        return self.stored.content_type if self.manifest is None else JSON


def _resolve(tx: Tx, context: Context, place: Place, raw: bool) -> Source:
    found = get_object(tx, context, place)
    stored = found.stored
    if stored.kind is BodyKind.STATIC and raw:
        return Source(place, found, len(found.body), stored.etag, manifest=found.body)
    if stored.kind is BodyKind.STATIC:
        return Source(place, found, stored.size_bytes, shown_etag(stored), decode_segments(found.body))
    manifest = stored.headers.get("X-Object-Manifest")
    if manifest and not raw:
        segments = dynamic_segments(tx, context, place.project_id, manifest)
        return Source(place, found, sum(map(length_of, segments)), f'"{static_etag(segments)}"', segments)
    return Source(place, found, stored.size_bytes, stored.etag)


async def find_source(req: Request, place: Place, *, raw: bool) -> Source:
    """The object; ``raw`` for a manifest itself instead of what it stands for.

    Raises Missing, and Forbidden or Unauthenticated for segments in containers that whoever asks may not read.
    """
    source = await req.read(_resolve, place, raw)
    segments = source.segments or ()
    await admit_to_containers(req, Access.READ, (segment_place(place.project_id, s.name) for s in segments))
    return source


async def stream_source(req: Request, source: Source, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """Bytes ``start`` up to ``end`` of what the reader sees."""
    if source.manifest is not None:
        yield source.manifest[start:end]
        return
    project_id, admit = source.place.project_id, partial(admit_to, req, Access.READ)
    if source.segments is None:
        pieces = read_found(req.cloud, req.context, admit, project_id, source.found, start, end)
    else:
        pieces = read_segments(req.cloud, req.context, admit, project_id, source.segments, start, end)
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece


def read_reply(req: Request, source: Source) -> Reply:
    """The answer to a GET or HEAD."""
    headers = [*object_headers(source.stored), ("Etag", source.etag)]
    if source.manifest is not None:
        headers = [(name, value) for name, value in headers if name != "X-Static-Large-Object"]
    status = judge_read(req, source.plain_etag, source.stored)
    if status:
        body = swift_page(status) if status != 304 else b""
        return Reply(body, status=status, headers=headers, content_type=HTML)
    size = source.size_bytes
    spans: list[Span] = []
    if wants_range(req, source.plain_etag, source.stored):
        try:
            spans = parse_ranges(req.headers.get("Range"), size) or []
        except RangeNotSatisfiable:
            headers.append(("Content-Range", f"bytes */{size}"))
            return Reply(swift_page(416), status=416, headers=headers, content_type=HTML)
    if len(spans) > 1:
        return _multipart(req, source, spans, headers)
    span = spans[0] if spans else Span(0, size)
    if spans:
        headers.append(("Content-Range", span.content_range(size)))
    return _reply(req, source, span, headers, partial=bool(spans))


def _reply(req: Request, source: Source, span: Span, headers: Headers, *, partial: bool) -> Reply:
    """The whole or one range. What lives in the index needs no stream."""
    status = 206 if partial else 200
    found = source.found
    headers.append(("Content-Length", str(span.length)))
    if req.raw.method == "HEAD":
        return Reply(b"", status=status, headers=headers, content_type=source.content_type)
    if source.segments is None and source.manifest is None and found.stored.kind is BodyKind.INLINE:
        data = found.body[span.start : span.end]
        return Reply(data, status=status, headers=headers, content_type=source.content_type)
    stream = stream_source(req, source, span.start, span.end)
    return Reply(stream, status=status, headers=headers, content_type=source.content_type)


def _multipart(req: Request, source: Source, spans: Sequence[Span], headers: Headers) -> Reply:
    """Several ranges: ``multipart/byteranges``, its length said before."""
    boundary = f"{req.context.rng.getrandbits(128):032x}"
    heads = [
        (
            f"--{boundary}\r\nContent-Type: {source.content_type}\r\n"
            f"Content-Range: {span.content_range(source.size_bytes)}\r\n\r\n"
        ).encode()
        for span in spans
    ]
    tail = f"--{boundary}--".encode()
    length = sum(len(head) + span.length + 2 for head, span in zip(heads, spans, strict=True)) + len(tail)
    headers.append(("Content-Length", str(length)))
    content_type = f"multipart/byteranges;boundary={boundary}"
    if req.raw.method == "HEAD":
        return Reply(b"", status=206, headers=headers, content_type=content_type)

    async def stream() -> AsyncGenerator[bytes, None]:
        for head, span in zip(heads, spans, strict=True):
            yield head
            async with aclosing(stream_source(req, source, span.start, span.end)) as pieces:
                async for piece in pieces:
                    yield piece
            yield b"\r\n"
        yield tail

    return Reply(stream(), status=206, headers=headers, content_type=content_type)
