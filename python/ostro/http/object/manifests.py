"""Static large objects: putting a manifest, and deleting it with its segments."""

from __future__ import annotations

from ostro.http.object.conditions import check_write
from ostro.http.object.headers import read_details
from ostro.http.object.service import admit_to_containers
from ostro.http.request import Reply, Request
from ostro.model.context import Context
from ostro.services.object.acls import Access
from ostro.services.object.errors import BodyTooLarge, FailedPrecondition, Missing, NoLength, Unprocessable
from ostro.services.object.limits import MANIFEST_MOST_BYTES
from ostro.services.object.objects import Body, Place, delete_object, get_object, put_object
from ostro.services.object.segments import (
    BadManifest,
    Segment,
    decode_segments,
    encode_segments,
    length_of,
    parse_manifest,
    place_of,
    resolve_segments,
    static_etag,
)
from ostro.store.database import Tx
from ostro.store.objects import BodyKind, StoredObject


async def put_static(req: Request, place: Place, length: int | None) -> StoredObject:
    """Keep a manifest after looking at every segment, which whoever asks must be allowed to. Raises BadManifest with all that is wrong."""
    if length is None:
        raise NoLength()
    if length > MANIFEST_MOST_BYTES:
        raise BodyTooLarge()
    data = b"".join([part async for part in req.stream()])
    specs = parse_manifest(data)
    details = read_details(req, guess=True)
    await admit_to_containers(req, Access.READ, (place_of(place.project_id, spec.path) for spec in specs))
    segments, faults = await req.read(resolve_segments, place.project_id, specs)
    if faults:
        raise BadManifest("Errors:\n" + "".join(f"{fault.path}, {fault.reason}\n" for fault in faults))
    etag = static_etag(segments)
    wanted = req.headers.get("Etag", "").strip('"').lower()
    if wanted and wanted != etag:
        raise Unprocessable()
    size = sum(map(length_of, segments))
    body = Body(size, etag, manifest=encode_segments(segments))
    return await req.run(put_object, place, body, details, check_write(req))


async def delete_static(req: Request, place: Place) -> Reply:
    """Delete a static large object and all its segments, which whoever asks must be allowed to, and say how that went."""
    segments = await req.read(_segments, place)
    await admit_to_containers(req, Access.WRITE, (place_of(place.project_id, s.name) for s in segments))
    deleted = missing = 0
    for target in [*(place_of(place.project_id, s.name) for s in segments), place]:
        try:
            was_there = await req.run(delete_object, target)
        except Missing:
            was_there = False
        deleted += was_there
        missing += not was_there
    return Reply(
        {
            "Number Deleted": deleted,
            "Number Not Found": missing,
            "Errors": [],
            "Response Body": "",
            "Response Status": "200 OK",
        },
        status=200,
    )


def _segments(tx: Tx, context: Context, place: Place) -> list[Segment]:
    found = get_object(tx, context, place)
    if found.stored.kind is not BodyKind.STATIC:
        raise FailedPrecondition("Not an SLO manifest")
    return decode_segments(found.body)
