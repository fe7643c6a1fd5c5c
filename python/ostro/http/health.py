"""``/healthz`` and ``/readyz`` for load balancers and supervisors, and the list of APIs at ``/``.

Alive means that this process answers. Ready means that it can serve: the store answers a read now. Ceph's health is told beside it and doesn't
count, because all that isn't in Ceph can be served without.
"""

from __future__ import annotations

import trio

from ostro.http.faults import identity_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Service
from ostro.http.schema import STRING, array, shape
from ostro.model.errors import Unavailable
from ostro.services.identity.catalog import CATALOG

READY_DEADLINE_S = 2.0

HEALTH = Service("health", ("",), identity_shape, title="Health")


@HEALTH.route(
    "GET",
    "/",
    policy="ostro:apis",
    rule=Rule.PUBLIC,
    summary="Where the APIs are",
    response=shape({"apis": array(shape({"type": STRING, "url": STRING}))}),
)
async def list_apis(req: Request) -> Reply:
    apis = [
        {"type": entry.type, "url": req.url(entry.path.partition("$")[0].removesuffix("AUTH_").rstrip("/"))}
        for entry in CATALOG
    ]
    return Reply({"apis": apis})


@HEALTH.route(
    "GET",
    "/healthz",
    policy="ostro:health",
    rule=Rule.PUBLIC,
    summary="Whether this process lives",
    response=shape({"status": STRING}),
)
async def show_health(req: Request) -> Reply:
    return Reply({"status": "alive"})


@HEALTH.route(
    "GET",
    "/readyz",
    policy="ostro:ready",
    rule=Rule.PUBLIC,
    summary="Whether this process can serve",
    response=shape({"status": STRING, "ceph": STRING}, ("status",)),
)
async def show_readiness(req: Request) -> Reply:
    with trio.move_on_after(READY_DEADLINE_S) as scope:
        await req.cloud.db.read(lambda tx: tx.one("SELECT 1"))
    if scope.cancelled_caught:
        raise Unavailable("The store does not answer.")
    parts = {} if req.cloud.ceph is None else {"ceph": req.cloud.ceph.health}
    return Reply({"status": "ready", **parts})
