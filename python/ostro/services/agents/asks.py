"""Questions to a host, such as for a console log: a wish that the host answers once, by a report.

``put_ask`` puts the question; the caller waits on ``ask_topic`` and reads with ``find_answer``, and in the end takes the question back with
``drop_ask``. Questions whose asker died are taken back by ``sweep_asks``.
"""

from __future__ import annotations

from ostro.model.errors import Conflict
from ostro.model.wishes import AskWish, Noun, Phase
from ostro.store.asks import ASKS, Ask, list_old_asks
from ostro.store.database import Tx
from ostro.store.reports import find_report
from ostro.store.wishes import set_wish, wish_absence

OLD_US = 60_000_000
SWEEP_MOST = 100


def put_ask(tx: Tx, host_id: str, ask: AskWish, now_us: int) -> None:
    """Ask the host."""
    ASKS.insert(tx, Ask(ask.id, host_id, now_us))
    set_wish(tx, host_id, Noun.ASK, ask.id, ask)


def find_answer(tx: Tx, ask_id: str, host_id: str) -> str | None:
    """The answer, None while there is none. Raises Conflict when the host can't answer."""
    report = find_report(tx, host_id, Noun.ASK, ask_id)
    if report is None or report.phase not in (Phase.READY, Phase.FAILED):
        return None
    if report.phase is Phase.FAILED:
        raise Conflict(report.reason or "The host can't answer.")
    return report.answer


def drop_ask(tx: Tx, ask_id: str, host_id: str) -> None:
    """Nobody waits for the answer any more. Idempotent."""
    ASKS.delete(tx, ask_id)
    wish_absence(tx, host_id, Noun.ASK, ask_id)


def sweep_asks(tx: Tx, now_us: int) -> int:
    """Take back questions that nobody can be waiting for any more; how many."""
    old = list_old_asks(tx, now_us - OLD_US, SWEEP_MOST)
    for ask in old:
        drop_ask(tx, ask.id, ask.host_id)
    return len(old)
