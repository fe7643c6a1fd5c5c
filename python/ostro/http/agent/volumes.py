"""Passphrases of encrypted volumes for hosts."""

from __future__ import annotations

from ostro.http.agent.service import AGENT, speaker_of
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, shape
from ostro.model.context import Context
from ostro.services.agents.hosts import check_speaker
from ostro.services.agents.joining import Speaker, check_certificate
from ostro.services.block.encryptions import get_key_for_host, passphrase
from ostro.store.database import Tx
from ostro.store.volume_keys import VolumeKey


@AGENT.route(
    "GET",
    "/hosts/{host_id}/volumes/{volume_id}/key",
    policy="agent:volumes:key",
    rule=Rule.PUBLIC,
    response=shape({"passphrase": STRING}),
    summary="What opens an encrypted volume, for the host that makes it or has it plugged in",
)
async def read_volume_key(req: Request) -> Reply:
    key = await req.read(_read, req.params["host_id"], req.params["volume_id"], speaker_of(req))
    return Reply({"passphrase": passphrase(key, req.cloud.sealer.open)})


def _read(tx: Tx, context: Context, host_id: str, volume_id: str, speaker: Speaker) -> VolumeKey:
    check_certificate(tx, context, speaker)
    check_speaker(tx, host_id, speaker)
    return get_key_for_host(tx, volume_id, host_id)
