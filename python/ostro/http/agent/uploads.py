"""Bytes that hosts send for images made of volumes."""

from __future__ import annotations

from functools import partial

from ostro.http.agent.service import AGENT, speaker_of
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.services.block.uploads import begin_attempt, lose_attempt
from ostro.services.image.uploads import receive_bytes


@AGENT.route(
    "PUT",
    "/hosts/{host_id}/uploads/{upload_id}/data",
    policy="agent:uploads:write",
    rule=Rule.PUBLIC,
    status=204,
    streams=True,
    summary="The bytes of an image that the host makes of a volume; 409 when nobody waits for them any more",
)
async def write_upload(req: Request) -> Reply:
    host_id, upload_id = req.params["host_id"], req.params["upload_id"]
    begin = partial(begin_attempt, host_id=host_id, upload_id=upload_id, speaker=speaker_of(req))
    length_bytes = req.raw.content_length
    await receive_bytes(req.cloud, req.context, begin, lose_attempt, req.stream(), length_bytes=length_bytes)
    return Reply()
