"""``/v3/ec2tokens`` and ``/v3/s3tokens``: a service hands over what its client signed, and gets the client's token.

Only services and administrators may: anybody else could turn an overheard signature into a token (CVE-2025-65073).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.tokens import TOKEN, token_reply
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, shape
from ostro.model.errors import Invalid, Unauthenticated
from ostro.services.identity.auth import SIGNED, Scope, Shown, UserRef
from ostro.services.identity.credentials import find_ec2
from ostro.services.identity.ec2 import check_ec2, check_s3
from ostro.services.identity.tokens import REFUSED

GIVEN = {"access": STRING, "signature": STRING, "headers": ANY_OBJECT, "params": ANY_OBJECT}
BODY = {
    "type": "object",
    "properties": {
        "credentials": {"type": "object", "properties": GIVEN, "required": ["access"]},
        "ec2Credentials": {"type": "object", "properties": GIVEN, "required": ["access"]},
    },
}
Check = Callable[[str, Mapping[str, Any], int], None]
DECOY = "0" * 32


async def _exchange(req: Request, check: Check) -> Reply:
    given = req.body.get("credentials") or req.body.get("ec2Credentials")
    if not given:
        raise Invalid("The request has no credentials.")
    row = await req.cloud.db.read(find_ec2, given["access"])
    # Without such a key the same work is done in vain.
    blob = orjson.loads(req.cloud.sealer.open(row.sealed_blob)) if row else {"secret": DECOY}
    check(str(blob.get("secret", "")), given, req.context.now_us)
    if row is None:
        raise Unauthenticated(REFUSED, detail="no such access key")
    shown = Shown()
    shown.add(row.user_id, *SIGNED)
    token, actor = await req.cloud.authenticator.finish(shown, Scope(project=UserRef(id=row.project_id)))
    return await token_reply(req, actor, token)


@IDENTITY.route(
    "POST",
    "/v3/ec2tokens",
    policy="identity:ec2tokens_validate",
    rule=Rule.POLICY,
    body=BODY,
    response=TOKEN,
    summary="Exchange an EC2 signature for a token",
)
async def exchange_ec2(req: Request) -> Reply:
    req.context.enforce("identity:ec2tokens_validate")
    return await _exchange(req, check_ec2)


@IDENTITY.route(
    "POST",
    "/v3/s3tokens",
    policy="identity:s3tokens_validate",
    rule=Rule.POLICY,
    body=BODY,
    response=shape(TOKEN["properties"]),
    summary="Exchange an S3 signature for a token",
)
async def exchange_s3(req: Request) -> Reply:
    req.context.enforce("identity:s3tokens_validate")
    return await _exchange(req, check_s3)
