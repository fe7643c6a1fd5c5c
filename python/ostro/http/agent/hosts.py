"""Registration, the change feed and reports."""

from __future__ import annotations

import msgspec
import trio

from ostro.http.agent.service import AGENT, speaker_of
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, INTEGER, STRING, array, shape
from ostro.model.context import Context
from ostro.model.errors import Invalid
from ostro.model.registration import Registration
from ostro.model.wishes import Feed, Report
from ostro.services.agents.hosts import check_speaker, is_touch_due, register_host, touch_host
from ostro.services.agents.joining import Speaker, check_certificate
from ostro.services.agents.reports import record_reports
from ostro.store.database import Tx
from ostro.store.hosts import host_topic
from ostro.store.wishes import read_feed

FEED_MOST = 5000
"""Wishes in one answer of the feed."""
WAIT_MOST_S = 60
NUMBER = {"type": "number"}
REPORTS_MOST_BYTES = 16 << 20
"""Reports bear answers too: a console log of control characters, or the flow tables of a large host."""


@AGENT.route(
    "POST",
    "/hosts",
    policy="agent:hosts:register",
    rule=Rule.PUBLIC,
    body=ANY_OBJECT,
    response=shape(
        {
            "host_id": STRING,
            "cloud_id": STRING,
            "lease_s": NUMBER,
            "epoch": INTEGER,
            "fence_s": NUMBER,
            "urls": array(STRING),
        },
    ),
    summary="Register a host, or a new incarnation of it",
)
async def register(req: Request) -> Reply:
    try:
        registration = msgspec.convert(req.body, Registration)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    config = req.cloud.config
    registered = await req.run(
        register_host, req.cloud.placement, speaker_of(req), registration, config.cloud_id, config.fence_s
    )
    return Reply(msgspec.to_builtins(registered))


@AGENT.route(
    "GET",
    "/hosts/{host_id}/wishes",
    policy="agent:wishes:read",
    rule=Rule.PUBLIC,
    waits=True,
    query={"since": INTEGER, "wait_s": INTEGER},
    response=shape({"revision": INTEGER, "full": {"type": "boolean"}, "wishes": array(ANY_OBJECT)}),
    summary="What changed for the host since a revision; waits for a change",
)
async def read_wishes(req: Request) -> Reply:
    host_id, since = req.params["host_id"], req.integer("since", 0, high=2**62)
    deadline_s = trio.current_time() + req.integer("wait_s", 0, high=WAIT_MOST_S)
    db, speaker = req.cloud.db, speaker_of(req)
    with db.doorbell.listen(host_topic(host_id)) as bell:
        feed, is_due = await req.read(_meet, host_id, since, speaker)
        if is_due:
            await req.run(_greet, host_id, speaker)
        while feed is None and (left_s := deadline_s - trio.current_time()) > 0:
            await bell.wait(left_s)
            feed = await db.read(_read, host_id, since, speaker)
    answer = feed or Feed(revision=since, full=False, wishes=[])
    return Reply(msgspec.json.encode(answer))


def _meet(tx: Tx, context: Context, host_id: str, since: int, speaker: Speaker) -> tuple[Feed | None, bool]:
    """What is new for a host that may speak, and whether a sign of life is to be written."""
    check_certificate(tx, context, speaker)
    host = check_speaker(tx, host_id, speaker)
    return read_feed(tx, host_id, since, FEED_MOST, host.revision), is_touch_due(host, context.now_us)


def _greet(tx: Tx, context: Context, host_id: str, speaker: Speaker) -> None:
    check_certificate(tx, context, speaker)
    check_speaker(tx, host_id, speaker)
    touch_host(tx, host_id, context.now_us)


def _read(tx: Tx, host_id: str, since: int, speaker: Speaker) -> Feed | None:
    host = check_speaker(tx, host_id, speaker)
    return read_feed(tx, host_id, since, FEED_MOST, host.revision)


@AGENT.route(
    "POST",
    "/hosts/{host_id}/reports",
    policy="agent:reports:write",
    rule=Rule.PUBLIC,
    body=shape({"reports": array(ANY_OBJECT)}),
    body_most_bytes=REPORTS_MOST_BYTES,
    response=shape({"kept": INTEGER}),
    summary="Tell what the host found",
)
async def write_reports(req: Request) -> Reply:
    try:
        reports = msgspec.convert(req.body["reports"], list[Report])
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    kept = await req.run(record_reports, req.params["host_id"], speaker_of(req), reports)
    req.cloud.world.faults.hit("reports.committed")
    return Reply({"kept": kept})
