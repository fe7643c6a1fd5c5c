"""``Idempotency-Key``: a POST that is sent twice is done once, and answered twice.

The answer is kept by the transaction that makes the change, so whoever crashes in between, or loses the answer on its way, finds both or neither.
An answer is made by the handler after its transaction, so here the handler is driven by hand: by trio until it asks for its first change,
and from there to its end inside that very transaction, where its further changes and reads are made at once. A transaction that
must run again starts the handler afresh.

A repeat that comes while the first is under way waits for it: on SQLite by the queue of the one writer, on PostgreSQL by the row's key, which
lets one of two commit. An error is not kept; nothing was changed, and trying again is what the key is for.

Answers may hold secrets (a new key pair's private half), so they are sealed with the keys of ``services/identity/sealing.py``.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import AsyncIterable, Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import orjson

from ostro.http.exchange import Outgoing
from ostro.http.request import Request
from ostro.http.route import Reply
from ostro.model.context import Context
from ostro.model.errors import Invalid, OstroError, TooLarge, Unavailable
from ostro.store.database import Tx
from ostro.store.kept_answers import KEPT_ANSWERS, KeptAnswer, find_answer

T = TypeVar("T")
P = ParamSpec("P")

KEY_MOST = 255
ANSWER_MOST_BYTES = 1 << 20
ATTEMPTS = 8
REPLAYED = ("Idempotency-Replayed", "true")
REFUSED = "This operation can't be done with an Idempotency-Key."


class KeyReused(Invalid):
    """The key was used for another request."""

    status = 422


class _Again(Exception):
    """The handler has to start afresh."""


class _Kept(msgspec.Struct, frozen=True):
    """An answer as it is kept."""

    status: int
    headers: list[tuple[str, str]]
    body: str


class _Change:
    """A handler's wish for a transaction, handed to whoever drives it."""

    def __init__(self, make: Callable[[Tx], Any]) -> None:
        self.make = make

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


@dataclass(slots=True)
class KeyedRequest(Request):
    """A request whose first transaction is the only one: ``tx`` once it is open."""

    tx: Tx | None = None

    @property
    def keyed(self) -> bool:
        return True

    async def run(self, fn: Callable[Concatenate[Tx, Context, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.tx is not None:
            return self.record(self.tx, fn(self.tx, self.context, *args, **kwargs))
        found: T = await _Change(lambda tx: self.record(tx, fn(tx, self.context, *args, **kwargs)))
        return found

    async def read(self, fn: Callable[Concatenate[Tx, Context, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.tx is not None:
            return fn(self.tx, self.context, *args, **kwargs)
        return await self.cloud.db.read(fn, self.context, *args, **kwargs)


@types.coroutine
def _drive(
    handler: Coroutine[Any, Any, Reply], error: BaseException | None = None
) -> Generator[Any, Any, _Change | Reply]:
    """Run a handler until it wishes for a change or ends; what it awaits else goes to trio. ``error`` is raised in it first."""
    value: Any = None
    while True:
        try:
            step = handler.send(value) if error is None else handler.throw(error)
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        if isinstance(step, _Change):
            return step
        value = error = None
        try:
            value = yield step
        except BaseException as raised:  # noqa: BLE001 - it is the handler's to handle
            error = raised


class Once:
    """One request with a key. ``finish`` makes the answer of a handler's reply."""

    def __init__(self, request: Request, key: str, finish: Callable[[Reply], Outgoing]) -> None:
        if request.route.streams:
            raise Invalid(REFUSED)
        if not 1 <= len(key) <= KEY_MOST or not key.isascii() or not key.isprintable():
            raise Invalid(f"An Idempotency-Key has 1 to {KEY_MOST} printable ASCII characters.")
        self._request = request
        self._finish = finish
        actor = request.context.actor
        who = (actor.user_id, actor.project_id, actor.domain_id, str(actor.system))
        how = (actor.trust_id, actor.application_credential_id, actor.access_token_id)
        self._id = _digest(*who, *how, request.raw.method, request.path, key)
        body = orjson.dumps(request.body, option=orjson.OPT_SORT_KEYS).decode()
        self._fingerprint = _digest(request.raw.query_string.decode("latin-1"), str(request.version), body)

    async def answer(self) -> Outgoing:
        """The first answer: made now, or kept since the first time. Raises KeyReused, and what the handler raises."""
        for _ in range(ATTEMPTS):
            if (kept := await self._find()) is not None:
                return kept
            try:
                return await self._attempt()
            except _Again:
                continue
            except OstroError:
                # Another one with the same key may have been quicker, and may be why this one can't be done.
                if (kept := await self._find()) is not None:
                    return kept
                raise
        raise Unavailable("Too many requests with the same Idempotency-Key at once.")

    async def _find(self) -> Outgoing | None:
        row = await self._request.cloud.db.read(find_answer, self._id)
        if row is None:
            return None
        if row.fingerprint != self._fingerprint:
            raise KeyReused("The Idempotency-Key was used for another request.")
        kept = msgspec.json.decode(self._request.cloud.sealer.open(row.answer), type=_Kept)
        return Outgoing(kept.status, kept.body.encode(), [*kept.headers, REPLAYED])

    async def _attempt(self) -> Outgoing:
        """Run the handler once, with the end of it and the answer in the transaction of its first change."""
        base = self._request
        request = KeyedRequest(**{name: getattr(base, name) for name in Request.__dataclass_fields__})
        handler: Coroutine[Any, Any, Reply] = base.route.handler(request)  # type: ignore[assignment]
        try:
            step = await _drive(handler)
            while isinstance(step, _Change):
                try:
                    answer = await base.cloud.db.run(self._change, request, handler, step)
                except OstroError as error:
                    if request.tx is not None:
                        raise
                    step = await _drive(handler, error)
                else:
                    base.cloud.world.faults.hit("idempotency.committed")
                    if base.trail is not None:
                        base.cloud.audit.written(base.trail)
                    return answer
            # It changed nothing, so it may be done again; but the answer shall be the same.
            return await base.cloud.db.run(self._keep, self._finish(step))
        finally:
            with suppress(ValueError, RuntimeError):
                # Cancelled, its thread may still be running it, and lets go of it by itself.
                handler.close()

    def _change(self, tx: Tx, request: KeyedRequest, handler: Coroutine[Any, Any, Reply], change: _Change) -> Outgoing:
        if request.tx is not None or find_answer(tx, self._id) is not None:
            raise _Again
        result = change.make(tx)
        request.tx = tx
        try:
            handler.send(result)
        except StopIteration as end:
            return self._keep(tx, self._finish(end.value))
        # It waits for something that has no place in a transaction.
        raise Invalid(REFUSED)

    def _keep(self, tx: Tx, answer: Outgoing) -> Outgoing:
        """Keep the answer, unless it is an error."""
        if isinstance(answer.body, AsyncIterable):
            raise Invalid(REFUSED)
        if len(answer.body) > ANSWER_MOST_BYTES:
            raise TooLarge("The answer is too large to be kept for an Idempotency-Key.")
        if answer.status < 400:
            request = self._request
            kept = msgspec.json.encode(_Kept(answer.status, answer.headers, answer.body.decode())).decode()
            row = KeptAnswer(self._id, self._fingerprint, request.cloud.sealer.seal(kept), request.context.now_us)
            if not KEPT_ANSWERS.insert_new(tx, row):
                raise _Again
            request.cloud.world.faults.hit("idempotency.kept")
        return answer


def _digest(*words: str) -> str:
    return hashlib.blake2b("\0".join(words).encode(), digest_size=20).hexdigest()
