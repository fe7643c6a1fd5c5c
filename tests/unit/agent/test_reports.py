"""The book of reports: what is sent, when, and again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio
from trio.testing import MockClock

from ostro.agent.reports import BATCH_MOST, BATCH_MOST_BYTES, STAGES_MOST, Reports
from ostro.model.errors import Invalid, Unavailable
from ostro.model.wishes import Noun, Phase, Power, Report
from ostro.runtime.world import World

ON = Report(Noun.SERVER, "s", 1, Phase.READY, power=Power.ON)
OFF = msgspec.structs.replace(ON, power=Power.OFF)


class Plane:
    """Takes batches, or fails while ``away``."""

    def __init__(self) -> None:
        self.batches: list[list[Report]] = []
        self.away = False

    async def take(self, reports: Sequence[Report]) -> None:
        await trio.sleep(0.1)
        if self.away:
            raise Unavailable("away")
        self.batches.append(list(reports))


async def sent_after(reports: Reports, plane: Plane, wait_s: float = 60) -> list[list[Report]]:
    """What is sent in the next while."""
    plane.batches.clear()
    with trio.move_on_after(wait_s):
        await reports.run(plane.take)
    return plane.batches


async def test_reports_go_together_and_each_only_once(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    other = Report(Noun.VOLUME, "v", 1, Phase.READY)
    assert reports.put(ON) and reports.put(other)
    assert await sent_after(reports, plane) == [[ON, other]]
    assert not reports.put(ON)
    assert await sent_after(reports, plane) == []
    assert reports.find(Noun.SERVER, "s") == ON


async def test_only_the_newest_report_of_an_object_is_sent(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    reports.put(ON)
    reports.put(OFF)
    assert await sent_after(reports, plane) == [[OFF]]


async def test_what_changes_while_it_is_sent_is_sent_again(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    reports.put(ON)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.run, plane.take)
        await trio.sleep(0.05)
        reports.put(OFF)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert plane.batches == [[ON], [OFF]]


async def test_what_was_not_kept_is_sent_again(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    reports.put(ON)
    plane.away = True
    assert await sent_after(reports, plane) == []
    plane.away = False
    assert await sent_after(reports, plane) == [[ON]]


async def test_everything_can_be_sent_again_but_absences_are_done_with(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    gone = Report(Noun.VOLUME, "v", 2, Phase.ABSENT)
    reports.put(ON)
    reports.put(gone)
    await sent_after(reports, plane)
    reports.send_all_again()
    assert await sent_after(reports, plane) == [[ON]]
    assert reports.find(Noun.VOLUME, "v") is None


async def test_batches_are_bounded(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    for number in range(BATCH_MOST + 1):
        reports.put(Report(Noun.PORT, str(number), 1, Phase.READY))
    assert [len(batch) for batch in await sent_after(reports, plane)] == [BATCH_MOST, 1]


def volumes(count: int, **fields: str) -> list[Report]:
    """Reports of as many volumes."""
    return [Report(Noun.VOLUME, f"v{n}", 1, Phase.READY, **fields) for n in range(count)]  # type: ignore[arg-type]


async def test_a_batch_is_bounded_in_bytes_too(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    asked = volumes(5, answer="\x1b" * (BATCH_MOST_BYTES // 15))
    for report in asked:
        reports.put(report)
    assert await sent_after(reports, plane) == [asked[:2], asked[2:4], asked[4:]]


class PickyPlane(Plane):
    """Fails whole batches because of one volume in them."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def take(self, reports: Sequence[Report]) -> None:
        await trio.sleep(0.1)
        if any(report.id == "v3" for report in reports):
            raise self._error
        self.batches.append(list(reports))


async def test_a_report_that_is_refused_is_dropped_and_holds_up_nobody(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), PickyPlane(Invalid("too large"))
    for report in volumes(10):
        reports.put(report)
    sent = {report.id for batch in await sent_after(reports, plane) for report in batch}
    assert sent == {f"v{n}" for n in range(10)} - {"v3"}
    reports.put(ON)
    assert await sent_after(reports, plane) == [[ON]]


async def test_a_report_that_fails_is_tried_last(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), PickyPlane(Unavailable("bug"))
    for report in volumes(10):
        reports.put(report)
    sent = {report.id for batch in await sent_after(reports, plane) for report in batch}
    assert sent == {f"v{n}" for n in range(10)} - {"v3"}


async def test_stages_are_told_once_with_the_next_report(autojump_clock: MockClock) -> None:
    reports, plane = Reports(World()), Plane()
    reports.mark(Noun.SERVER, "s", "taken")
    assert await sent_after(reports, plane) == []
    reports.put(ON)
    ((told,),) = await sent_after(reports, plane)
    assert [stage.name for stage in told.stages] == ["taken"]
    assert not reports.put(ON), "they make no report another one"
    plane.away = True
    reports.mark(Noun.SERVER, "s", "stopped")
    reports.put(OFF)
    assert await sent_after(reports, plane) == []
    plane.away = False
    ((told,),) = await sent_after(reports, plane)
    assert [stage.name for stage in told.stages] == ["stopped"], "what was not taken is told again"
    for number in range(2 * STAGES_MOST):
        reports.mark(Noun.SERVER, "s", str(number))
    reports.put(ON)
    ((told,),) = await sent_after(reports, plane)
    assert len(told.stages) == STAGES_MOST
    reports.mark(Noun.SERVER, "s", "late")
    reports.forget(Noun.SERVER, "s")
    reports.put(OFF)
    ((told,),) = await sent_after(reports, plane)
    assert told.stages == []
