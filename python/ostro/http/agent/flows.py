"""A host's flow tables in words, for ``ostro flows show``."""

from __future__ import annotations

import orjson

from ostro.http.agent.service import AGENT, speaker_of
from ostro.http.asks import await_answer
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import INTEGER, STRING, array, shape
from ostro.model.context import Context
from ostro.model.errors import Forbidden, NotFound, Unavailable
from ostro.model.wishes import AskWish
from ostro.services.agents.asks import put_ask
from ostro.services.agents.hosts import is_up
from ostro.services.agents.joining import check_certificate
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS

FLOW = shape(
    {
        "table": INTEGER,
        "table_name": STRING,
        "priority": INTEGER,
        "match": STRING,
        "actions": STRING,
        "packets": INTEGER,
    }
)


@AGENT.route(
    "GET",
    "/hosts/{name}/flows",
    policy="agent:flows:show",
    rule=Rule.PUBLIC,
    waits=True,
    response=shape({"flows": array(FLOW)}),
    summary="The host's flow tables in words; the host is given by its name",
)
async def show_flows(req: Request) -> Reply:
    name, speaker = req.params["name"], speaker_of(req)
    if speaker.name not in ("", name):
        raise Forbidden("A host sees its own flows only.")

    def ask_flows(tx: Tx, context: Context, ask_id: str) -> str:
        check_certificate(tx, context, speaker)
        host = HOSTS.find(tx, name=name)
        if host is None:
            raise NotFound("host", name)
        if not is_up(host, context.now_us):
            raise Unavailable(f"Host {name} does not answer.", retry_after_s=5)
        put_ask(tx, host.id, AskWish(ask_id, "flows", server_id=""), context.now_us)
        return host.id

    return Reply({"flows": orjson.loads(await await_answer(req, ask_flows))})
