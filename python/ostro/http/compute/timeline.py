"""``GET /servers/{id}/timeline``: where a server's time went, action by action. Beyond upstream."""

from __future__ import annotations

from typing import Any

from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, array, nullable, shape
from ostro.model.times import iso_micro
from ostro.services.compute.instance_actions import list_timeline
from ostro.store.instance_actions import InstanceAction

NUMBER = {"type": "number"}
STAGE = shape({"name": STRING, "at": STRING, "after_ms": NUMBER, "took_ms": NUMBER})
ACTION = shape(
    {
        "action": STRING,
        "request_id": STRING,
        "result": nullable(STRING),
        "message": nullable(STRING),
        "total_ms": nullable(NUMBER),
        "stages": array(STAGE),
    }
)


def _view(action: InstanceAction) -> dict[str, Any]:
    stages: list[dict[str, Any]] = []
    before_us = action.started_at_us
    for stage in action.stages:
        after_us, took_us = stage.at_us - action.started_at_us, stage.at_us - before_us
        stages.append(
            {
                "name": stage.name,
                "at": iso_micro(stage.at_us),
                "after_ms": round(after_us / 1000, 1),
                "took_ms": round(took_us / 1000, 1),
            }
        )
        before_us = stage.at_us
    done = action.finished_at_us > 0
    return {
        "action": action.action,
        "request_id": action.request_id,
        "result": action.result or None,
        "message": action.message,
        "total_ms": round((action.finished_at_us - action.started_at_us) / 1000, 1) if done else None,
        "stages": stages,
    }


@COMPUTE.route(
    "GET",
    "/v2.1/servers/{server_id}/timeline",
    policy="os_compute_api:os-instance-actions:list",
    rule=Rule.READER,
    response=shape({"timeline": array(ACTION)}),
    summary="Show where a server's time went",
)
async def show_timeline(req: Request) -> Reply:
    actions = await req.read(list_timeline, req.params["server_id"])
    return Reply({"timeline": [_view(action) for action in actions]})
