"""``/v2/images/{id}/file``: an image's bytes, up and down."""

from __future__ import annotations

from functools import partial

from ostro.http.exchange import RequestHeaders
from ostro.http.faults import RangeNotSatisfiable, UnsupportedMediaType
from ostro.http.files import FileStream, Span, parse_ranges
from ostro.http.image.service import IMAGE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.model.errors import Invalid, Unavailable
from ostro.services.image.images import get_downloadable_image
from ostro.services.image.uploads import receive_image

OCTETS = "application/octet-stream"


@IMAGE.route(
    "PUT",
    "/v2/images/{image_id}/file",
    policy="image:upload_image",
    rule=Rule.MEMBER,
    status=204,
    streams=True,
    summary="Upload an image's bytes",
)
async def upload_image(req: Request) -> Reply:
    if req.raw.mimetype != OCTETS:
        raise UnsupportedMediaType(f"Unsupported Content-Type: an image is uploaded as {OCTETS}.")
    await receive_image(
        req.cloud, req.context, req.params["image_id"], req.stream(), length_bytes=_announced_bytes(req)
    )
    return Reply()


def _announced_bytes(req: Request) -> int | None:
    """How long the image will be, if the client says so."""
    text = req.headers.get("x-openstack-image-size")
    if text is None:
        return req.raw.content_length
    if not (text.isascii() and text.isdigit()):
        raise Invalid("Image size must be a non-negative integer.")
    return int(text)


def _asked_span(headers: RequestHeaders, size_bytes: int) -> Span | None:
    """The one range that is asked for; None for the whole. Raises Invalid for several, RangeNotSatisfiable for none that exists.

    Before ``Range`` clients said it by ``Content-Range``, and still may.
    """
    header = headers.get("Range")
    if header is None and (older := headers.get("Content-Range")) is not None:
        header = older.replace("bytes ", "bytes=", 1).partition("/")[0]
    if header is None:
        return None
    if "," in header:
        raise Invalid("Several ranges in one request are not supported: ask for one at a time.")
    spans = parse_ranges(header, size_bytes)
    if spans is None:
        raise RangeNotSatisfiable("Invalid Range header.")
    return spans[0]


@IMAGE.route(
    "GET",
    "/v2/images/{image_id}/file",
    policy="image:download_image",
    rule=Rule.READER,
    summary="Download an image's bytes, whole or in part",
)
async def download_image(req: Request) -> Reply:
    image = await req.read(get_downloadable_image, req.params["image_id"])
    if image is None:
        return Reply(status=204)
    part = _asked_span(req.headers, image.size_bytes)
    span = part or Span(0, image.size_bytes)
    headers = [("Content-Length", str(span.length)), ("Accept-Ranges", "bytes")]
    if part is not None:
        headers.append(("Content-Range", span.content_range(image.size_bytes)))
    else:
        headers.append(("Content-MD5", image.checksum))
    try:
        open_ = partial(req.cloud.images.open, image.upload_id, image.disk_format)
        stream = await FileStream.open(req.cloud.world.threads, open_, span)
    except OSError as error:
        raise Unavailable("The image's data can't be read now.", retry_after_s=30, detail=str(error)) from error
    return Reply(stream, status=200 if part is None else 206, headers=headers, content_type=OCTETS)
