"""``/v1/AUTH_{account}/{container}/{object}``: put, get, look at, change, delete."""

from __future__ import annotations

from ostro.http.object.bodies import Source, find_source, read_reply
from ostro.http.object.conditions import check_write
from ostro.http.object.copies import copy_object, parse_source
from ostro.http.object.headers import TEXT, last_modified_us, read_details
from ostro.http.object.manifests import delete_static, put_static
from ostro.http.object.service import OBJECT, admit
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape
from ostro.model.errors import Invalid
from ostro.model.times import http_date
from ostro.services.object.acls import Access
from ostro.services.object.errors import BodyTooLarge, Missing, NoLength, Unprocessable
from ostro.services.object.limits import FILE_MOST_BYTES, INLINE_MOST_BYTES, OBJECT_NAME_MOST_BYTES
from ostro.services.object.objects import Place, check_place, delete_object, put_object, update_object
from ostro.store.objects import StoredObject

PATH = "/v1/AUTH_{account}/{container}/{object:rest}"
MULTIPART = {"multipart-manifest": STRING, "format": STRING}


def place_of(req: Request, project_id: str) -> Place:
    """The object that the request names. Raises Invalid for a name that is too long."""
    name = req.params["object"].encode()
    if len(name) > OBJECT_NAME_MOST_BYTES:
        raise Invalid(f"Object name length of {len(name)} longer than {OBJECT_NAME_MOST_BYTES}")
    return Place(project_id, req.params["container"].encode(), name)


def put_reply(stored: StoredObject) -> Reply:
    """The answer to every way of making an object."""
    headers = [
        ("Etag", stored.etag),
        ("Last-Modified", http_date(last_modified_us(stored.created_at_us))),
    ]
    return Reply(b"", status=201, headers=headers, content_type=TEXT)


@OBJECT.route(
    "PUT",
    PATH,
    policy="object:object:put",
    rule=Rule.PUBLIC,
    status=201,
    streams=True,
    query=MULTIPART,
    summary="Put an object",
)
async def put_object_data(req: Request) -> Reply:
    project_id = await admit(req, Access.WRITE)
    place = place_of(req, project_id)
    if "X-Copy-From" in req.headers:
        source = parse_source(req, "X-Copy-From", "X-Copy-From-Account")
        return await copy_object(req, source, place)
    length = req.raw.content_length
    if length is None and "chunked" not in req.headers.get("Transfer-Encoding", "").lower():
        raise NoLength()
    if length is not None and length > FILE_MOST_BYTES:
        raise BodyTooLarge()
    if req.query.get("multipart-manifest") == "put":
        return put_reply(await put_static(req, place, length))
    return put_reply(await _put(req, place, length))


async def _put(req: Request, place: Place, length: int | None) -> StoredObject:
    details = read_details(req, guess=True)
    check = check_write(req)
    etag = req.headers.get("Etag", "").strip('"').lower()
    if length is None or length > INLINE_MOST_BYTES:
        # Say so before a long body comes; the transaction looks again.
        await req.read(check_place, place, length or 0)
    async with req.cloud.uploads.receive(req.stream()) as body:
        if etag and etag != body.etag:
            raise Unprocessable()
        return await req.run(put_object, place, body, details, check)


@OBJECT.route(
    "GET",
    PATH,
    policy="object:object:get",
    rule=Rule.PUBLIC,
    query=MULTIPART,
    summary="Get an object, whole or in part",
)
async def get_object_data(req: Request) -> Reply:
    source = await _source(req, Access.READ)
    return read_reply(req, source)


@OBJECT.route(
    "HEAD",
    PATH,
    policy="object:object:head",
    rule=Rule.PUBLIC,
    query=MULTIPART,
    summary="Show what is known of an object",
)
async def head_object(req: Request) -> Reply:
    source = await _source(req, Access.READ)
    return read_reply(req, source)


async def _source(req: Request, access: Access) -> Source:
    project_id = await admit(req, access)
    return await find_source(req, place_of(req, project_id), raw=req.query.get("multipart-manifest") == "get")


@OBJECT.route(
    "POST",
    PATH,
    policy="object:object:post",
    rule=Rule.PUBLIC,
    status=202,
    streams=True,
    summary="Replace an object's metadata",
)
async def update_object_metadata(req: Request) -> Reply:
    project_id = await admit(req, Access.WRITE)
    await req.run(update_object, place_of(req, project_id), read_details(req, guess=False))
    return Reply(b"", status=202, content_type=TEXT)


@OBJECT.route(
    "DELETE",
    PATH,
    policy="object:object:delete",
    rule=Rule.PUBLIC,
    status=204,
    query=MULTIPART,
    response=shape({"Number Deleted": INTEGER, "Number Not Found": INTEGER, "Errors": array(ANY_OBJECT)}),
    summary="Delete an object",
)
async def remove_object(req: Request) -> Reply:
    project_id = await admit(req, Access.WRITE)
    place = place_of(req, project_id)
    if req.query.get("multipart-manifest") == "delete":
        return await delete_static(req, place)
    if not await req.run(delete_object, place, check_write(req)):
        raise Missing("object", place.name.decode(errors="replace"))
    return Reply(headers=[("Content-Type", TEXT)])
