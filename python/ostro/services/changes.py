"""Who waits for changes of servers, ports, volumes, snapshots or images hears of them here.

One loop a process reads the change feed, once for however many wait, and hands each change to those whom it concerns: who wait for this
object, for this project's, or for all. While nobody waits, nothing is read. What a subscriber has not taken yet is kept once
for each object, so it is bounded by what exists; beyond ``HELD_MOST`` the subscription has overflowed, and its holder starts again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
import trio

from ostro.model.errors import Unavailable
from ostro.runtime.doorbell import Bell
from ostro.runtime.world import World
from ostro.store.changes import EVERYBODY, TOPIC, Change, find_reached, read_news
from ostro.store.database import Database
from ostro.store.tokens import TOPIC as IDENTITY_TOPIC

log = structlog.get_logger()

T = TypeVar("T")

SUBSCRIBERS_MOST = 4096
HELD_MOST = 10_000
READ_MOST = 1000
UNHEARD_S = 5.0
"""A change that was made without a ring, or whose ring was lost, is found after so long."""
PENDING_FIRST_S, PENDING_MOST_S = 0.01, 0.5
"""Changes that wait for an older transaction are looked for after so long, and then twice as long."""
FAILED_S = 1.0
MADE_MOST = 2048

Topic = tuple[str, ...]


def one(noun: str, id_: str) -> Topic:
    """The topic of one object."""
    return (noun, "id", id_)


def project(noun: str, project_id: str) -> Topic:
    """The topic of a project's objects."""
    return (noun, "project", project_id)


def everything(noun: str) -> Topic:
    """The topic of every object."""
    return (noun, "all")


@dataclass
class Subscription:
    """What one waiter has not taken yet. ``start`` is the revision from which on it hears of everything."""

    start: int
    bell: Bell = field(default_factory=Bell)
    reached: int = 0
    overflowed: bool = False
    _held: dict[tuple[str, str], Change] = field(default_factory=dict)

    def put(self, change: Change) -> None:
        """Keep a change, in the place of an older one of the object."""
        self._held.pop((change.id, change.project_id), None)
        if len(self._held) >= HELD_MOST:
            self.overflowed = True
            return
        self._held[change.id, change.project_id] = change
        self.bell.ring()

    def take(self) -> list[Change]:
        """What has come since the last time, by revision."""
        changes, self._held = list(self._held.values()), {}
        return changes


class _Made:
    """Something that is made once for all who want it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.value: object = None
        self.failed = False


class Changes:
    """The changes of one process."""

    def __init__(self, world: World, db: Database) -> None:
        self._db = db
        self._loop = world.metrics.loop("changes")
        self._by_topic: dict[Topic, set[int]] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._at: int | None = None
        self._wanted = trio.Event()
        self._made: dict[tuple[object, ...], _Made] = {}
        self.identity_epoch = 0
        """Grows whenever something changed that a token's worth may depend on."""
        db.doorbell.subscribe(IDENTITY_TOPIC, self._identity_changed)

    def _identity_changed(self) -> None:
        self.identity_epoch += 1
        for subscription in self._subscriptions.values():
            subscription.bell.ring()

    @asynccontextmanager
    async def subscribe(self, *topics: Topic) -> AsyncIterator[Subscription]:
        """Hear of every change after ``start`` until the block ends. Raises Unavailable when too many listen."""
        if len(self._subscriptions) >= SUBSCRIBERS_MOST:
            raise Unavailable("Too many requests wait for changes.", retry_after_s=10)
        if self._at is None:
            reached = await self._db.read(find_reached)
            if self._at is None:
                self._at = reached
        subscription = Subscription(self._at, reached=self._at)
        number = id(subscription)
        self._subscriptions[number] = subscription
        for topic in topics:
            self._by_topic.setdefault(topic, set()).add(number)
        self._wanted.set()
        try:
            yield subscription
        finally:
            del self._subscriptions[number]
            for topic in topics:
                listeners = self._by_topic[topic]
                listeners.discard(number)
                if not listeners:
                    del self._by_topic[topic]

    async def run(self) -> None:
        """Read the feed while somebody listens, until cancelled."""
        while True:
            await self._wanted.wait()
            with self._db.doorbell.listen(TOPIC) as bell:
                await self._follow(bell)
            self._at = None
            self._made.clear()
            self._wanted = trio.Event()

    async def _follow(self, bell: Bell) -> None:
        pending_s = PENDING_FIRST_S
        while self._subscriptions:
            try:
                with self._loop.run():
                    more = await self._read()
            except Exception:
                log.exception("changes could not be read")
                await trio.sleep(FAILED_S)
                continue
            pending_s = min(pending_s * 2, PENDING_MOST_S) if more else PENDING_FIRST_S
            await bell.wait(pending_s if more else UNHEARD_S)

    async def _read(self) -> bool:
        """One read for all. Whether there is more that can't be read yet."""
        assert self._at is not None, "somebody listens"
        while True:
            news = await self._db.read(read_news, self._at, READ_MOST)
            for change in news.changes:
                self._tell(change)
            self._at = max(self._at, news.reached)
            for subscription in self._subscriptions.values():
                subscription.reached = self._at
            if len(news.changes) < READ_MOST:
                return news.more

    def _tell(self, change: Change) -> None:
        topics = [one(change.noun, change.id), project(change.noun, change.project_id), everything(change.noun)]
        numbers: set[int] = set()
        for topic in topics:
            numbers |= self._by_topic.get(topic, set())
        for number in numbers:
            self._subscriptions[number].put(change)

    async def make_once(self, key: tuple[object, ...], make: Callable[[], Awaitable[T]]) -> T:
        """What ``make`` gives, made once for everybody who asks with the same key while it is fresh."""
        while True:
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = _Made()
                try:
                    value = await make()
                except BaseException:
                    # Whoever waits makes it themselves: this one may only have been cancelled.
                    self._made.pop(key, None)
                    made.failed = True
                    raise
                else:
                    made.value = value
                    while len(self._made) > MADE_MOST:
                        del self._made[next(iter(self._made))]
                    return value
                finally:
                    made.done.set()
            await made.done.wait()
            if not made.failed:
                return made.value  # type: ignore[return-value]


def topics_for(noun: str, project_id: str, *, every_project: bool) -> Sequence[Topic]:
    """What somebody of a project may hear of: the project's and what everybody sees."""
    return [everything(noun)] if every_project else [project(noun, project_id), project(noun, EVERYBODY)]
