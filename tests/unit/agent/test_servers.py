"""The plan of servers: held against a model over every combination of what can be found and wished."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from ostro.agent.drivers.hypervisor import Domain, Memo
from ostro.agent.servers import (
    GRACE_S,
    Adopt,
    Attach,
    Define,
    Detach,
    Note,
    Plug,
    Start,
    Step,
    Stop,
    TakeOver,
    Unplug,
    plan,
)
from ostro.model.errors import Unsupported
from ostro.model.wishes import AttachmentWish, Power, ServerWish

BOOT, EARLIER_BOOT = "boot-2", "boot-1"
GENERATION = 7
A, B = "volume-a", "volume-b"

FOUND = [
    None,
    *(
        Domain("s", power, Memo(generation, reboots, boot), attached)
        for power, generation, reboots, boot, attached in product(
            (Power.ON, Power.OFF, Power.PAUSED, Power.CRASHED),
            (0, GENERATION - 1, GENERATION),
            (0, 1),
            (BOOT, EARLIER_BOOT, ""),
            ([], [A], [A, B]),
        )
    ),
]


def wish(power: Power = Power.ON, reboots: int = 0, hard: bool = False, volumes: tuple[str, ...] = ()) -> ServerWish:
    attachments = [AttachmentWish(f"at-{volume}", volume, f"vd{volume[-1]}") for volume in volumes]
    return ServerWish(
        "s", "n", "p", "u", "h", 1, 64, 1, power=power, reboots=reboots, reboot_hard=hard, attachments=attachments
    )


MACS = {"p1": "m1", "p2": "m2", "p3": "m3"}
WISHES = [
    wish(power, reboots, hard, volumes)
    for power, reboots, hard, volumes in product((Power.ON, Power.OFF), (0, 1), (False, True), ((), (A,), (B,), (A, B)))
]


def perform(have: Domain | None, step: Step, wished: ServerWish) -> Domain:
    """What a step does to a domain, as the drivers' contract has it."""
    match step:
        case Define():
            assert have is None or have.power in (Power.OFF, Power.CRASHED), "a running domain is not defined anew"
            return Domain("s", Power.OFF, Memo(0, wished.reboots, ""), [a.volume_id for a in wished.attachments])
        case _:
            assert have is not None
    match step:
        case Adopt():
            return have
        case TakeOver():
            assert have.power in (Power.OFF, Power.CRASHED), "a disk in use here is not taken from anybody"
            return have
        case Start():
            return msgspec.structs.replace(have, power=Power.ON)
        case Stop():
            return msgspec.structs.replace(have, power=Power.OFF)
        case Attach(attachment):
            return msgspec.structs.replace(have, attached=[*have.attached, attachment.volume_id])
        case Detach(volume_id):
            return msgspec.structs.replace(have, attached=[v for v in have.attached if v != volume_id])
        case Plug(port_id):
            return msgspec.structs.replace(have, nics=[*have.nics, MACS[port_id]])
        case Unplug(mac):
            return msgspec.structs.replace(have, nics=[n for n in have.nics if n != mac])
        case Note(memo):
            return msgspec.structs.replace(have, memo=memo)


def rests(have: Domain | None, wished: ServerWish) -> bool:
    """Whether the very wish had been carried out in this boot, so that how the guest is now is its own doing."""
    return have is not None and have.memo == Memo(GENERATION, wished.reboots, BOOT)


@pytest.mark.parametrize("wished", WISHES, ids=lambda w: f"{w.power}-{w.reboots}-{w.reboot_hard}-{len(w.attachments)}")
def test_a_plan_brings_any_domain_to_any_wish_and_then_rests(wished: ServerWish) -> None:
    for have in FOUND:
        steps = plan(have, wished, GENERATION, BOOT)
        after = have
        for step in steps:
            after = perform(after, step, wished)
        assert after is not None
        assert set(after.attached) == {a.volume_id for a in wished.attachments}
        assert after.memo == Memo(GENERATION, wished.reboots, BOOT)
        assert plan(after, wished, GENERATION, BOOT) == []
        if wished.power is Power.OFF:
            assert after.power in (Power.OFF, Power.CRASHED)
        elif not rests(have, wished):
            assert after.power is Power.ON


def test_a_server_that_has_come_is_adopted_once_and_goes_on() -> None:
    come = Domain("s", Power.ON, Memo(0, 0, BOOT, "migration"), [])
    assert plan(come, wish(), GENERATION, BOOT) == [Adopt(), Note(Memo(GENERATION, 0, BOOT))]
    sent = Domain("s", Power.ON, Memo(GENERATION - 1, 0, BOOT, "migration"), [])
    assert plan(sent, wish(), GENERATION, BOOT) == [Note(Memo(GENERATION, 0, BOOT))]


@pytest.mark.parametrize("power", [Power.ON, Power.OFF])
def test_a_server_taken_from_another_host_is_taken_over_before_its_first_start_and_never_again(power: Power) -> None:
    wished = msgspec.structs.replace(wish(power), taken_from="host-a")
    steps = plan(None, wished, GENERATION, BOOT)
    assert steps[:2] == [Define(), TakeOver()] and (Start() in steps) is (power is Power.ON)
    cut_off = Domain("s", Power.OFF, Memo(0, 0, ""), [])
    assert (TakeOver() in plan(cut_off, wished, GENERATION, BOOT)) is (power is Power.ON)
    known = Domain("s", Power.OFF, Memo(GENERATION - 1, 0, BOOT), [])
    assert TakeOver() not in plan(known, wished, GENERATION, BOOT)


@pytest.mark.parametrize("wished", WISHES, ids=lambda w: f"{w.power}-{w.reboots}-{w.reboot_hard}-{len(w.attachments)}")
def test_a_plan_cut_off_anywhere_is_finished_by_the_next(wished: ServerWish) -> None:
    for have in FOUND:
        steps = plan(have, wished, GENERATION, BOOT)
        for done in range(len(steps)):
            after = have
            for step in steps[:done]:
                after = perform(after, step, wished)
            for step in plan(after, wished, GENERATION, BOOT):
                after = perform(after, step, wished)
            whole = have
            for step in steps:
                whole = perform(whole, step, wished)
            assert after is not None and whole is not None
            assert (after.power, sorted(after.attached), after.memo) == (
                whole.power,
                sorted(whole.attached),
                whole.memo,
            )


def test_a_guest_that_went_off_by_itself_is_left_alone() -> None:
    for power in (Power.OFF, Power.CRASHED):
        assert plan(Domain("s", power, Memo(GENERATION, 0, BOOT), []), wish(), GENERATION, BOOT) == []


def test_a_new_generation_or_a_new_boot_starts_it_again() -> None:
    start = [Define(), Start(), Note(Memo(GENERATION, 0, BOOT))]
    assert plan(Domain("s", Power.OFF, Memo(GENERATION - 1, 0, BOOT), []), wish(), GENERATION, BOOT) == start
    assert plan(Domain("s", Power.OFF, Memo(GENERATION, 0, EARLIER_BOOT), []), wish(), GENERATION, BOOT) == start


def test_a_reboot_is_carried_out_once() -> None:
    running = Domain("s", Power.ON, Memo(GENERATION - 1, 0, BOOT), [])
    done = Note(Memo(GENERATION, 1, BOOT))
    assert plan(running, wish(reboots=1), GENERATION, BOOT) == [Stop(GRACE_S), Define(), Start(), done]
    assert plan(running, wish(reboots=1, hard=True), GENERATION, BOOT) == [Stop(0.0), Define(), Start(), done]
    assert plan(Domain("s", Power.ON, done.memo, []), wish(reboots=1), GENERATION, BOOT) == []


def test_a_running_server_whose_name_changed_is_only_noted() -> None:
    running = Domain("s", Power.ON, Memo(GENERATION - 1, 0, BOOT), [A])
    assert plan(running, wish(volumes=(A,)), GENERATION, BOOT) == [Note(Memo(GENERATION, 0, BOOT))]


def test_a_paused_guest_can_not_hear_the_power_button() -> None:
    paused = Domain("s", Power.PAUSED, Memo(GENERATION - 1, 0, BOOT), [])
    assert plan(paused, wish(Power.OFF), GENERATION, BOOT)[0] == Stop(0.0)


def test_a_guest_that_its_storage_has_stopped_goes_on_and_one_that_was_paused_by_hand_does_not() -> None:
    paused = Domain("s", Power.PAUSED, Memo(GENERATION, 0, BOOT), [])
    assert plan(paused, wish(), GENERATION, BOOT, MACS) == []
    assert plan(msgspec.structs.replace(paused, stalled=True), wish(), GENERATION, BOOT, MACS) == [Start()]
    assert plan(msgspec.structs.replace(paused, stalled=True), wish(Power.OFF), GENERATION, BOOT, MACS) == [Stop(0.0)]


def test_the_root_volume_is_never_pulled() -> None:
    wished = msgspec.structs.replace(wish(), root_volume_id=A)
    running = Domain("s", Power.ON, Memo(GENERATION, 0, BOOT), [A])
    assert plan(running, wished, GENERATION, BOOT) == []


@pytest.mark.parametrize("power", [Power.PAUSED, Power.CRASHED, Power.UNKNOWN])
def test_what_can_not_be_wished(power: Power) -> None:
    with pytest.raises(Unsupported):
        plan(Domain("s", Power.ON, Memo(0, 0, ""), []), wish(power), GENERATION, BOOT)


def test_network_cards_follow_the_wish() -> None:
    memo = Memo(GENERATION, 0, BOOT)
    have = Domain("s", Power.ON, memo, [], ["m1", "m2"])
    wished = msgspec.structs.replace(wish(), ports=["p2", "p3"])
    steps = plan(have, wished, GENERATION, BOOT, MACS)
    assert steps == [Unplug("m1"), Plug("p3")]
    for step in steps:
        have = perform(have, step, wished)
    assert plan(have, wished, GENERATION, BOOT, MACS) == []
    assert plan(have, wish(), GENERATION, BOOT, MACS) == [Unplug("m2"), Unplug("m3")]


def test_no_card_is_pulled_while_a_port_is_not_known() -> None:
    have = Domain("s", Power.ON, Memo(GENERATION, 0, BOOT), [], ["m1"])
    wished = msgspec.structs.replace(wish(), ports=["p1"])
    assert plan(have, wished, GENERATION, BOOT, {}) == [Plug("p1")], "which waits for the port"
