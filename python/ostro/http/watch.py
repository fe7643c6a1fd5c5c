"""``GET ...?watch=REVISION``: changes as server-sent events, each with the object as its GET shows it.

An event's revision is that of the transaction that made the change. The ``id`` comes with the last event of a revision, so whoever takes up again from
the last ``id`` misses nothing. A watch that has been away for longer than gone objects are remembered is answered by 410, and starts again
from a list that says its revision (``Prefer: revision``) or from 0, which is everything that there is.

Equal watchers (same project, roles, version) share what is read: a change costs a process one read, however many watch.
The stream ends when its token does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

import orjson
import trio

from ostro.http.exchange import Outgoing
from ostro.http.faults import status_of
from ostro.http.nouns import Kind, Noun
from ostro.http.policy import enforce
from ostro.http.request import Request
from ostro.http.route import Route
from ostro.http.settling import show_one
from ostro.model.context import Actor
from ostro.model.errors import Forbidden, Invalid, NotFound, OstroError
from ostro.services.changes import Subscription, one, topics_for
from ostro.store.changes import EVERYBODY, Change, find_lost, find_reached, read_news
from ostro.store.database import Tx

HEARTBEAT_S = 15.0
RECHECK_S = 1.0
PAGE = 200
RETRY_MS = 2000
QUERY = frozenset(("watch", "all_tenants"))
HEADERS = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]
NOW = -1


class TooOld(Invalid):
    """What has gone since that revision is no longer known."""

    status = 410


def _ends(tx: Tx) -> tuple[int, int]:
    return find_lost(tx), find_reached(tx)


def _since(request: Request) -> int:
    """From which revision on: that of the last event that the client has seen, else the one in the query."""
    text = request.headers.get("Last-Event-ID") or request.query.get("watch", "")
    if text in ("", "now"):
        return NOW
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid("watch must be a revision, or empty for what happens from now on.")
    return int(text)


async def watch(
    request: Request, noun: Noun, kind: Kind, show: Route, renew: Callable[[], Awaitable[Actor]]
) -> Outgoing:
    """The stream of events. ``renew`` judges the token again. Raises TooOld, Invalid, Forbidden, NotFound."""
    if strange := set(request.query) - QUERY:
        raise Invalid(f"A watch can't be filtered by {', '.join(sorted(strange))}.")
    since = _since(request)
    everybody = request.context.is_admin and (noun.lists_all or request.flag("all_tenants"))
    if request.flag("all_tenants") and not request.context.is_admin:
        raise Forbidden("Policy doesn't allow watching every project.")
    id_ = request.params[noun.parameter] if kind is Kind.SHOW else ""
    if id_:
        await show_one(request, noun, show, id_)
    lost, reached = await request.cloud.db.read(_ends)
    if 0 < since < lost or since > reached:
        raise TooOld("That revision is too old: list again with 'Prefer: revision', or watch from 0.")
    watcher = Watcher(request, noun, show, renew, since, id_, everybody)
    return Outgoing(200, watcher.events(), list(HEADERS), live=True)


class Watcher:
    """One client's watch."""

    def __init__(
        self,
        request: Request,
        noun: Noun,
        show: Route,
        renew: Callable[[], Awaitable[Actor]],
        since: int,
        id_: str,
        everybody: bool,
    ) -> None:
        self._request = request
        self._noun = noun
        self._show = show
        self._renew = renew
        self._since = since
        self._id = id_
        self._everybody = everybody
        self._project_id = request.context.project_id
        self._changes = request.cloud.changes

    async def events(self) -> AsyncIterator[bytes]:
        """The stream. It ends by itself when the token does, or when the client is too slow."""
        topics = (
            [one(self._noun.name, self._id)]
            if self._id
            else topics_for(self._noun.name, self._project_id, every_project=self._everybody)
        )
        try:
            async with self._changes.subscribe(*topics) as news:
                yield f"retry: {RETRY_MS}\n: watching\n\n".encode()
                async for part in self._backlog(news):
                    yield part
                async for part in self._follow(news):
                    yield part
        except OstroError as error:
            yield _event("end", {"code": status_of(error), "message": error.message})

    async def _backlog(self, news: Subscription) -> AsyncIterator[bytes]:
        """What has changed before the subscription, page by page."""
        if self._since == NOW:
            self._since = news.start
        at, fresh = self._since, self._since == 0
        while at < news.start:
            page = await self._request.cloud.db.read(read_news, at, PAGE, self._noun.name, news.start)
            wanted = [c for c in page.changes if self._concerns(c) and not (fresh and c.gone)]
            if text := await self._render(wanted):
                yield text
            at = page.reached
        yield _mark(max(at, self._since))

    def _concerns(self, change: Change) -> bool:
        if self._id:
            return change.id == self._id
        return self._everybody or change.project_id in (self._project_id, EVERYBODY)

    async def _follow(self, news: Subscription) -> AsyncIterator[bytes]:
        """What changes from then on."""
        world = self._request.cloud.world
        checked_s, epoch = trio.current_time(), self._changes.identity_epoch
        while True:
            changes, reached = news.take(), news.reached
            if news.overflowed:
                raise TooOld("More has changed than this client has read.")
            if text := await self._render([c for c in changes if c.revision > self._since]):
                yield text
            left_s = (self._request.context.actor.expires_at_us - world.now_us()) / 1e6
            doubted = epoch != self._changes.identity_epoch
            wait_s = RECHECK_S if doubted else min(HEARTBEAT_S, max(left_s, 0.0))
            rang = await news.bell.wait(wait_s)
            if not rang and not doubted:
                yield _mark(max(reached, self._since))
            if left_s <= 0 or ((doubted or not rang) and trio.current_time() - checked_s >= RECHECK_S):
                epoch, checked_s = self._changes.identity_epoch, trio.current_time()
                await self._check()

    async def _check(self) -> None:
        """Judge the token again. Raises Unauthenticated, Forbidden."""
        request = self._request
        actor = await self._renew()
        enforce(request.cloud.policies, request.route.policy, request.route.rule, actor)
        if self._everybody and "admin" not in actor.roles:
            raise Forbidden("Policy doesn't allow watching every project.")
        self._request = replace(request, context=replace(request.context, actor=actor))

    async def _render(self, changes: Iterable[Change]) -> bytes:
        """Events of these changes, revision by revision."""
        newest = {change.id: change for change in sorted(changes, key=lambda c: c.revision)}
        parts: list[bytes] = []
        for revision, group in groupby(sorted(newest.values(), key=lambda c: (c.revision, c.id)), lambda c: c.revision):
            for change in group:
                parts.append(await self._changes.make_once(self._key(change), lambda c=change: self._make(c)))  # type: ignore[misc]
            parts[-1] = b"id: %d\n%b" % (revision, parts[-1])
        return b"".join(parts)

    def _key(self, change: Change) -> tuple[object, ...]:
        """What an event depends on, besides the rows."""
        request = self._request
        actor = request.context.actor
        # A policy of the operator's may look at the user.
        policies = request.cloud.policies
        user_id = actor.user_id if any(name in policies for name in (self._show.policy, *self._show.also)) else ""
        who = (actor.project_id, actor.domain_id, actor.system, actor.roles, user_id)
        return (change.noun, change.id, change.revision, who, request.version, request.base_url)

    async def _make(self, change: Change) -> bytes:
        noun = self._noun
        try:
            view = await show_one(self._request, noun, self._show, change.id)
        except (NotFound, Forbidden):  # An operator's rule may hide what is another user's.
            return _event("deleted", {"revision": change.revision, noun.name: {"id": change.id}})
        return _event("changed", {"revision": change.revision, noun.name: view})


def _event(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def _mark(revision: int) -> bytes:
    """A sign of life that says how far the watch has come."""
    return b": \nid: %d\n\n" % revision
