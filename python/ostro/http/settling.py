"""``Prefer: wait=N``: answer when the object has settled, instead of being asked again and again.

The request waits by doorbell and holds neither thread nor transaction; it ends when its client goes away. When N seconds have passed the answer is
what it would have been then. Who asks for nothing waits for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import trio

from ostro.http.exchange import Outgoing
from ostro.http.nouns import Kind, Noun
from ostro.http.request import Request
from ostro.http.route import Route
from ostro.http.targets import authorize
from ostro.model.errors import Invalid, NotFound, Unavailable
from ostro.services.changes import one
from ostro.store.changes import find_reached

WAIT_MOST_S = 300
REVISION = "Ostro-Revision"
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?(?:$|[,;\s])", re.IGNORECASE)
_REVISION = re.compile(r"(?:^|[,;\s])revision(?:$|[,;\s])", re.IGNORECASE)


class ClientLeft(Invalid):
    """The client has gone away while it was waiting."""


def wait_of(preference: str) -> int | None:
    """How many seconds a ``Prefer`` header asks to wait, within bounds; None for another preference."""
    found = _WAIT.search(preference)
    return None if found is None else min(int(found[1]), WAIT_MOST_S)


async def answer_preferred(
    request: Request, noun: Noun, kind: Kind, show: Route, answer: Callable[[], Awaitable[Outgoing]]
) -> Outgoing:
    """``answer``, as the request's ``Prefer`` would have it."""
    preference = ", ".join(request.headers.getlist("Prefer"))
    if kind is Kind.LIST:
        if not _REVISION.search(preference):
            return await answer()
        # Before the list is read: what changes meanwhile is told once more, and not lost.
        reached = await request.cloud.db.read(find_reached)
        listed = await answer()
        listed.add([(REVISION, str(reached)), ("Preference-Applied", "revision")])
        return listed
    wait_s = wait_of(preference)
    if wait_s is None:
        return await answer()
    return await _Wait(request, noun, kind, show, wait_s).answer(answer)


class _Wait:
    """One request that waits."""

    def __init__(self, request: Request, noun: Noun, kind: Kind, show: Route, wait_s: int) -> None:
        self._request = request
        self._noun = noun
        self._kind = kind
        self._show = show
        self._wait_s = wait_s
        self._deadline_s = trio.current_time() + wait_s

    async def answer(self, first: Callable[[], Awaitable[Outgoing]]) -> Outgoing:
        """The answer, when it is time."""
        answer = await first()
        body = orjson.loads(answer.body) if isinstance(answer.body, bytes) and answer.body else None
        view = self._noun.view_in(body)
        if view is None or not isinstance(body, dict):
            return answer
        try:
            settled = await self._while_there(str(view["id"]))
        except Unavailable:
            # Too many wait already. What was asked for is done; only the wish to wait can't be granted.
            return answer
        if settled is not None:
            body = {**body, **settled} if not self._noun.key else {**body, self._noun.key: {**view, **settled}}
            answer.body = orjson.dumps(body)
        answer.add([("Preference-Applied", f"wait={self._wait_s}")])
        return answer

    async def _while_there(self, id_: str) -> dict[str, Any] | None:
        """The object when it has settled or time is over, unless the client goes away before. Raises ClientLeft."""
        outcome: list[dict[str, Any] | None] = []
        failure: list[Exception] = []
        async with trio.open_nursery() as nursery:

            async def watch_client() -> None:
                await self._request.raw.gone()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch_client)
            try:
                outcome.append(await self._until_settled(id_))
            except (NotFound, Unavailable) as error:
                failure.append(error)
            nursery.cancel_scope.cancel()
        if failure:
            if self._kind is Kind.CREATE and isinstance(failure[0], NotFound):
                return None
            raise failure[0]
        if not outcome:
            raise ClientLeft("The client has gone away.")
        return outcome[0]

    async def _until_settled(self, id_: str) -> dict[str, Any]:
        changes = self._request.cloud.changes
        async with changes.subscribe(one(self._noun.name, id_)) as news:
            while True:
                news.take()
                view = await show_one(self._request, self._noun, self._show, id_)
                done = self._noun.settled(view)
                if self._kind is Kind.CREATE and view.get("status") in self._noun.after_create:
                    done = True
                left_s = self._deadline_s - trio.current_time()
                if done or left_s <= 0:
                    return view
                await news.bell.wait(left_s)


async def show_one(request: Request, noun: Noun, show: Route, id_: str) -> dict[str, Any]:
    """The object as its own GET shows it to whoever asks. Raises what that raises."""
    context = request.context
    asked = replace(
        request,
        context=replace(context, now_us=request.cloud.world.now_us()),
        route=show,
        params={noun.parameter: id_},
        query=type(request.query)(),
        body=None,
        trail=None,
    )
    await authorize(asked, show.policy, show.rule)
    view = noun.view_in((await show.handler(asked)).body)
    assert view is not None, "a GET of one object shows it"
    return view
