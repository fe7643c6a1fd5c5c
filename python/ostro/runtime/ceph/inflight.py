"""What was asked of a cluster and is not answered yet: how long it has been silent while somebody waits."""

from __future__ import annotations


class Inflight:
    """Operations by when they were asked, in trio's time. Cheap: a dict keeps the order of asking."""

    def __init__(self) -> None:
        self._asked_s: dict[int, float] = {}
        self._next = 0
        self.last_answer_s = 0.0

    def __len__(self) -> int:
        return len(self._asked_s)

    def ask(self, now_s: float) -> int:
        """Note an operation; its number."""
        self._next += 1
        self._asked_s[self._next] = now_s
        return self._next

    def done(self, number: int) -> None:
        """The operation was answered, or will never be."""
        del self._asked_s[number]

    def silence_s(self, now_s: float) -> float:
        """For how long somebody has been waiting while nothing at all was answered; 0 when nobody waits."""
        oldest_s = next(iter(self._asked_s.values()), now_s)
        return now_s - max(oldest_s, self.last_answer_s)
