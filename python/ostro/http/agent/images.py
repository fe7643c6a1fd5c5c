"""Image bytes for hosts."""

from __future__ import annotations

from functools import partial

from ostro.http.agent.service import AGENT, speaker_of
from ostro.http.files import FileStream, Span, parse_ranges
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.model.errors import NotFound
from ostro.services.agents.joining import check_certificate
from ostro.services.image.holds import get_held_image

OCTETS = "application/octet-stream"


@AGENT.route(
    "GET",
    "/images/{image_id}/data",
    policy="agent:images:read",
    rule=Rule.PUBLIC,
    summary="An image's bytes, whole or from where an earlier download broke off (Range)",
)
async def read_image_data(req: Request) -> Reply:
    await req.read(check_certificate, speaker_of(req))
    image = await req.read(get_held_image, req.params["image_id"])
    spans = parse_ranges(req.headers.get("Range"), image.size_bytes)
    # Several ranges at once are no use to an agent; the first one is answered.
    span = spans[0] if spans else Span(0, image.size_bytes)
    try:
        open_ = partial(req.cloud.images.open, image.upload_id, image.disk_format)
        stream = await FileStream.open(req.cloud.world.threads, open_, span)
    except FileNotFoundError as error:
        raise NotFound("image", image.id) from error
    headers = [("Content-Length", str(span.length)), ("Accept-Ranges", "bytes"), ("X-Image-Sha512", image.sha512)]
    if spans:
        headers.append(("Content-Range", span.content_range(image.size_bytes)))
    return Reply(stream, status=206 if spans else 200, headers=headers, content_type=OCTETS)
