"""``/healthz`` and ``/readyz`` for load balancers and supervisors, and the list of APIs at ``/``.

Alive means that this process answers. Ready means that it can serve: the store answers a read now, its schema is this program's, and the keys of tokens are
loaded; what is lacking is told. Ceph's health is told beside it and doesn't
count, because all that isn't in Ceph can be served without.
"""

from __future__ import annotations

import hmac
import ipaddress

import trio

from ostro.http.faults import identity_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Service
from ostro.http.schema import STRING, array, shape
from ostro.model.errors import Unauthenticated, Unavailable
from ostro.runtime.metrics import CONTENT_TYPE
from ostro.services.identity.catalog import CATALOG
from ostro.store.migrate import list_missing
from ostro.store.sagas import count_sagas

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
    lacks: list[str] = []
    with trio.move_on_after(READY_DEADLINE_S) as scope:
        try:
            missing = await req.cloud.db.read(list_missing)
        except Unavailable as error:
            lacks.append(error.message)
        else:
            lacks += [f"Migration {name} is not applied." for name in missing[:1]]
    if scope.cancelled_caught:
        lacks.append("The store does not answer.")
    if not req.cloud.tokens.has_keys:
        lacks.append("The keys of tokens are not loaded.")
    if lacks:
        raise Unavailable(" ".join(lacks))
    parts = {} if req.cloud.ceph is None else {"ceph": req.cloud.ceph.health}
    return Reply({"status": "ready", **parts})


@HEALTH.route("GET", "/metrics", policy="ostro:metrics", rule=Rule.PUBLIC, summary="What Prometheus reads")
async def show_metrics(req: Request) -> Reply:
    if not _may_look(req):
        raise Unauthenticated("Metrics are for this machine, administrators, and whoever has the key of api.yaml.")
    world = req.cloud.world
    with trio.move_on_after(READY_DEADLINE_S):
        try:
            sagas = await req.cloud.db.read(count_sagas)
        except Unavailable:
            sagas = []  # The rest is what one wants to see now.
        counts = {kind: float(count) for kind, count, _ in sagas}
        ages = {kind: max(world.now_us() - began_us, 0) / 1e6 for kind, _, began_us in sagas}
        world.metrics.set("ostro_sagas", "Unfinished sagas", counts)
        world.metrics.set("ostro_sagas_oldest_seconds", "Age of the oldest saga", ages)
    return Reply(world.metrics_page(), content_type=CONTENT_TYPE)


def _may_look(req: Request) -> bool:
    """Whether whoever asks is an administrator, has the key, or is on this machine and not somebody's proxy."""
    if req.context.is_admin:
        return True
    key = req.cloud.shedding.metrics_key
    shown = req.headers.get("Authorization", "").removeprefix("Bearer ")
    if key and hmac.compare_digest(shown.encode(), key.encode()):
        return True
    if any(name in req.headers for name in ("X-Forwarded-For", "Forwarded", "Via")):
        return False
    try:
        return ipaddress.ip_address(req.raw.remote_addr or "").is_loopback
    except ValueError:
        return False
