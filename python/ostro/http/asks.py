"""Answers that only a host has: ask it, wait, and take the question back whatever happens."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ostro.http.idempotency import REFUSED
from ostro.http.request import Request
from ostro.model.context import Context
from ostro.model.errors import Invalid, Unavailable
from ostro.model.ids import new_uuid
from ostro.services.agents import asks
from ostro.services.agents.reports import ask_topic
from ostro.store.database import Tx

ANSWER_WAIT_S = 15.0


async def await_answer(req: Request, ask: Callable[[Tx, Context, str], str]) -> str:
    """Run ``ask(tx, context, ask_id)``, which puts the question and returns the host's id, and wait for the answer.

    Raises Unavailable when the host does not answer in time, Conflict when it can't.
    Raises Invalid for a request with an Idempotency-Key: the answer is the host's of that moment.
    """
    if req.keyed:
        raise Invalid(REFUSED)
    db = req.cloud.db
    ask_id = new_uuid(req.cloud.world.random)
    with db.doorbell.listen(ask_topic(ask_id)) as bell:
        host_id = await req.run(ask, ask_id)
        deadline_s = trio.current_time() + ANSWER_WAIT_S
        try:
            while True:
                answer = await db.read(asks.find_answer, ask_id, host_id)
                if answer is not None:
                    return answer
                left_s = deadline_s - trio.current_time()
                if left_s <= 0:
                    raise Unavailable("The host did not answer in time.", retry_after_s=5)
                await bell.wait(left_s)
        finally:
            # Also when the client has gone away: nobody waits any more.
            with trio.CancelScope(shield=True):
                await db.run(asks.drop_ask, ask_id, host_id)
