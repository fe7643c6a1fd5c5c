"""How a host comes by its certificate: the first one for a token, later ones for the one before.

``/join/v1`` needs no certificate yet. A host first asks for the authority's certificate and compares it with the fingerprint in its token; only
a controller whose own certificate is of that authority is shown the token.
"""

from __future__ import annotations

from ostro.http.agent.service import AGENT, speaker_of
from ostro.http.faults import identity_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Service
from ostro.http.schema import STRING, array, shape, strict
from ostro.model.context import Context
from ostro.model.errors import NotFound, Unauthenticated
from ostro.runtime.certificates import Authority
from ostro.services.agents.hosts import list_urls
from ostro.services.agents.joining import redeem_token, renew_certificate
from ostro.store.database import Tx

JOIN = Service("join", ("/join/v1",), identity_shape, title="Ostro hosts' joining")

TEXT = {"type": "string", "minLength": 1, "maxLength": 8192}
NAME = {"type": "string", "minLength": 1, "maxLength": 63}


def _authority(req: Request) -> Authority:
    if req.cloud.authority is None:
        raise NotFound("authority", "", "Hosts can't join a cloud that was started by `ostro up`.")
    return req.cloud.authority


@JOIN.route(
    "GET",
    "/authority",
    policy="join:authority:show",
    rule=Rule.PUBLIC,
    response=shape({"certificate": STRING}),
    summary="The certificate of the authority that signs hosts' and controllers' certificates",
)
async def show_authority(req: Request) -> Reply:
    return Reply({"certificate": _authority(req).cert_pem})


@JOIN.route(
    "POST",
    "/hosts",
    policy="join:hosts:create",
    rule=Rule.PUBLIC,
    body=strict({"token": TEXT, "name": NAME, "request": TEXT}, ("token", "name", "request")),
    response=shape({"certificate": STRING, "urls": array(STRING)}),
    summary="Let a host in: a certificate for its key, for a join token",
)
async def join_host(req: Request) -> Reply:
    name, config = req.body["name"], req.cloud.config
    issued, key_digest = _authority(req).sign_host(req.body["request"], name, req.context.now_us, config.certificate_s)

    def redeem(tx: Tx, context: Context) -> list[str]:
        redeem_token(tx, context, req.body["token"], name, issued, key_digest)
        return list_urls(tx, context.now_us)

    return Reply({"certificate": issued.pem, "urls": await req.run(redeem)})


@AGENT.route(
    "POST",
    "/certificate",
    policy="agent:certificate:renew",
    rule=Rule.PUBLIC,
    body=strict({"request": TEXT}, ("request",)),
    response=shape({"certificate": STRING}),
    summary="A certificate for another key of the host that shows one",
)
async def renew(req: Request) -> Reply:
    speaker = speaker_of(req)
    if not speaker.serial:
        raise Unauthenticated("A host's certificate is needed.")
    lifetime_s = req.cloud.config.certificate_s
    issued, key_digest = _authority(req).sign_host(req.body["request"], speaker.name, req.context.now_us, lifetime_s)
    await req.run(renew_certificate, speaker, issued, key_digest)
    return Reply({"certificate": issued.pem})
