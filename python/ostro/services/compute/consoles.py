"""The console log: a question to the server's host, and its answer.

``ask_console`` puts the question; the caller waits on ``ask_topic`` and then calls ``take_answer``, which also takes the question back. Questions whose
asker died are taken back by ``sweep_asks``.
"""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict
from ostro.model.wishes import AskWish, Noun, Phase
from ostro.services.agents.hosts import is_up
from ostro.services.compute.visibility import get_server
from ostro.store.asks import ASKS, Ask, list_old_asks
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.reports import find_report
from ostro.store.wishes import set_wish, wish_absence

OLD_US = 60_000_000
SWEEP_MOST = 100


def ask_console(tx: Tx, context: Context, server_id: str, ask_id: str, length: int) -> str:
    """Ask the server's host for the last ``length`` lines (-1 for all that is kept); the host's id.

    Raises Conflict when there is no console yet, or nobody to ask.
    """
    server = get_server(tx, context, server_id)
    if not server.host_id or not server.launched_at_us:
        raise Conflict(f"Instance {server_id} is not ready")
    if not is_up(HOSTS.get(tx, server.host_id), context.now_us):
        raise Conflict(f"Instance {server_id} is not ready: its host does not answer.")
    ASKS.insert(tx, Ask(ask_id, server.host_id, context.now_us))
    set_wish(tx, server.host_id, Noun.ASK, ask_id, AskWish(ask_id, "console_log", server_id, length))
    return server.host_id


def find_answer(tx: Tx, ask_id: str, host_id: str) -> str | None:
    """The answer, None while there is none. Raises Conflict when the host can't answer."""
    report = find_report(tx, host_id, Noun.ASK, ask_id)
    if report is None or report.phase not in (Phase.READY, Phase.FAILED):
        return None
    if report.phase is Phase.FAILED:
        raise Conflict(report.reason or "The host can't show the console.")
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
