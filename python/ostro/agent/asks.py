"""Asks: questions that the host answers once, by a report."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ostro.agent.host import Host
from ostro.agent.mirror import Key
from ostro.model.errors import Conflict, Unsupported
from ostro.model.wishes import AskWish, Noun, Phase, Report

WIDTH = 8
ANSWER_MOST_BYTES = 12 << 20
"""As JSON: four times what a console log takes at most. Beyond it no report with the answer would be taken."""


class Asks:
    """See `ostro.agent.host.Keeper`."""

    nouns = frozenset({Noun.ASK})

    def __init__(self, host: Host) -> None:
        self._host = host
        self._reconciler = host.loop("asks", self._reconcile, WIDTH, Noun.ASK)

    def wake(self, keys: Iterable[Key]) -> None:
        self._reconciler.wake(id_ for _noun, id_ in keys)

    async def run(self) -> None:
        await self._reconciler.run()

    async def inspect(self) -> None:
        ids = self._host.mirror.ids(Noun.ASK)
        self._reconciler.wake(id_ for id_ in ids if self._host.reports.find(Noun.ASK, id_) is None)

    async def _reconcile(self, id_: str) -> float | None:
        host = self._host
        held = host.mirror.find(Noun.ASK, id_)
        if held is None:
            return None
        if held.absent:
            host.report(Report(Noun.ASK, id_, held.generation, Phase.ABSENT))
            return None
        with host.reporting_trouble(held):
            answer = await self._answer(held.body(AskWish))
            if len(msgspec.json.encode(answer)) > ANSWER_MOST_BYTES:
                raise Conflict(f"The answer is larger than {ANSWER_MOST_BYTES >> 20} MiB.")
            host.report(Report(Noun.ASK, id_, held.generation, Phase.READY, answer=answer))
        return None

    async def _answer(self, ask: AskWish) -> str:
        match ask.what:
            case "console_log":
                return await self._host.hypervisor.console_log(ask.server_id, ask.length)
            case "flows":
                return msgspec.json.encode(await self._host.network.tables()).decode()
            case _:
                raise Unsupported(f"This agent can't answer {ask.what!r}.")
