"""``ostro api --workers N``: so many processes answer on one listening socket, kept by a parent that does nothing else.

The parent has no thread and no loop when it forks. A worker that ends is replaced a second later; workers end with their parent, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

import structlog

from ostro.cli.agent import end_with

log = structlog.get_logger()

ENDINGS = frozenset({signal.SIGINT, signal.SIGTERM})
HEARD = ENDINGS | {signal.SIGCHLD}
REPLACED_AFTER_S = 1.0


def keep_workers(count: int, work: Callable[[], None]) -> None:
    """Run ``work`` in ``count`` processes until SIGINT or SIGTERM, and return when all of them have ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    workers = {_fork(work) for _ in range(count)}
    stopping = False
    while workers or not stopping:
        heard: int | None = signal.sigwait(HEARD)
        ended = _reap(workers)
        if ended and not stopping:
            log.error("workers ended, and are replaced", pids=sorted(ended))
            pause = signal.sigtimedwait(ENDINGS, REPLACED_AFTER_S) if heard == signal.SIGCHLD else None
            heard = pause.si_signo if pause is not None else heard
        if heard in ENDINGS and not stopping:
            stopping = True
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
        while not stopping and len(workers) < count:
            workers.add(_fork(work))


def _reap(workers: set[int]) -> set[int]:
    """Forget those that have ended; which they were."""
    ended = {pid for pid in workers if os.waitpid(pid, os.WNOHANG)[0] == pid}
    workers -= ended
    return ended


def _fork(work: Callable[[], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        end_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing of it may be seen by the parent's callers
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
