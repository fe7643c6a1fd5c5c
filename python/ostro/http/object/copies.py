"""Copies: ``COPY`` with a destination, and ``PUT`` with ``X-Copy-From``. Bytes that are chunks are not moved, only referred to."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, unquote

from ostro.http.object.bodies import Source, find_source, stream_source
from ostro.http.object.conditions import check_write, judge_read
from ostro.http.object.headers import TEXT, decode, last_modified_us, read_details
from ostro.http.object.service import OBJECT, admit_to
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.model.context import Context
from ostro.model.errors import Invalid
from ostro.model.times import http_date
from ostro.services.object.acls import Access
from ostro.services.object.errors import FailedPrecondition
from ostro.services.object.limits import OBJECT_NAME_MOST_BYTES
from ostro.services.object.objects import Body, Check, Details, Place, decode_chunks, get_object, put_object
from ostro.store.database import Tx
from ostro.store.objects import BodyKind, StoredObject


def parse_place(req: Request, header: str, account_header: str) -> Place:
    """``container/object`` of a header, in the account of another or of the URL. Raises FailedPrecondition."""
    text = unquote(decode(req.headers.get(header, "")).partition("?")[0]).lstrip("/")
    container, slash, name = text.partition("/")
    if not (container and slash and name):
        raise FailedPrecondition(f"{header} header must be of the form <container name>/<object name>")
    account = unquote(req.headers.get(account_header, "")) or f"AUTH_{req.params['account']}"
    if not account.startswith("AUTH_"):
        raise FailedPrecondition("Account name in path could not be found")
    if len(name.encode()) > OBJECT_NAME_MOST_BYTES:
        raise Invalid(f"Object name length of {len(name.encode())} longer than {OBJECT_NAME_MOST_BYTES}")
    return Place(account.removeprefix("AUTH_"), container.encode(), name.encode())


def parse_source(req: Request, header: str, account_header: str) -> Place:
    """Where a PUT copies from; it must have no bytes of its own. Raises Invalid, FailedPrecondition."""
    if req.raw.content_length:
        raise Invalid("Copy requests require a zero byte body")
    return parse_place(req, header, account_header)


@OBJECT.route(
    "COPY",
    "/v1/AUTH_{account}/{container}/{object:rest}",
    policy="object:object:copy",
    rule=Rule.PUBLIC,
    status=201,
    streams=True,
    summary="Copy an object to the destination of its header",
)
async def copy_object_data(req: Request) -> Reply:
    project_id = req.params["account"]
    source = Place(project_id, req.params["container"].encode(), req.params["object"].encode())
    target = parse_place(req, "Destination", "Destination-Account")
    await admit_to(req, Access.WRITE, target)
    return await copy_object(req, source, target)


async def copy_object(req: Request, source_place: Place, target: Place) -> Reply:
    """Copy within the cloud; whoever asks must be allowed to read the source. Raises Missing."""
    await admit_to(req, Access.READ, source_place)
    source = await find_source(req, source_place, raw=req.query.get("multipart-manifest") == "get")
    if judge_read(req, source.plain_etag, source.stored):
        raise FailedPrecondition()
    details = _details(req, source)
    check = None if req.raw.method == "COPY" else check_write(req)
    if source.segments is None:
        stored = await req.run(_refer, source_place, target, details, check)
    else:
        async with req.cloud.uploads.receive(stream_source(req, source, 0, source.size_bytes)) as body:
            stored = await req.run(put_object, target, body, details, check)
    return _reply(req, source, stored)


def _details(req: Request, source: Source) -> Details:
    """The source's metadata with the request's on top; ``X-Fresh-Metadata`` leaves the source's out."""
    given = read_details(req, guess=False)
    old = source.stored
    if req.headers.get("X-Fresh-Metadata", "").lower() in ("true", "1", "yes", "on", "t", "y"):
        return replace(given, content_type=given.content_type or old.content_type)
    kept = {n: v for n, v in old.headers.items() if source.segments is None or n != "X-Object-Manifest"}
    return Details(
        content_type=given.content_type or old.content_type,
        headers={**kept, **given.headers},
        delete_at_s=given.delete_at_s or old.delete_at_s,
    )


def _refer(
    tx: Tx, context: Context, source: Place, target: Place, details: Details, check: Check | None
) -> StoredObject:
    """Make the target refer to the source's bytes as they are now."""
    found = get_object(tx, context, source)
    stored = found.stored
    match stored.kind:
        case BodyKind.INLINE:
            body = Body(stored.size_bytes, stored.etag, inline=found.body)
        case BodyKind.CHUNKS:
            body = Body(stored.size_bytes, stored.etag, chunks=decode_chunks(found.body))
        case BodyKind.STATIC:
            body = Body(stored.size_bytes, stored.etag, manifest=found.body)
    return put_object(tx, context, target, body, details, check)


def _reply(req: Request, source: Source, stored: StoredObject) -> Reply:
    place = source.place
    headers = [
        ("Etag", stored.etag),
        ("Last-Modified", http_date(last_modified_us(stored.created_at_us))),
        ("X-Copied-From-Account", f"AUTH_{place.project_id}"),
        ("X-Copied-From", f"{quote(place.container)}/{quote(place.name)}"),
        ("X-Copied-From-Last-Modified", http_date(last_modified_us(source.stored.created_at_us))),
        *((n, v) for n, v in stored.headers.items() if n.startswith("X-Object-Meta-")),
    ]
    return Reply(b"", status=201, headers=headers, content_type=TEXT)
