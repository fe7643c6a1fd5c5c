"""Groups of a real Open vSwitch: made, changed bucket by bucket, read back, mended, refilled, and others' left alone."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import trio

from ostro._core import FlowState, Switch, SwitchEvent
from ostro.testing.openvswitch import TestOpenVSwitch

BRIDGE = "groups"
ANSWER_S = 60.0

Groups = Mapping[int, Mapping[str, Any]]


def all_of(*ports: int) -> Mapping[str, Any]:
    return {"kind": "all", "buckets": {port: {"output": port} for port in ports}}


@pytest.fixture
def ofctl(openvswitch: TestOpenVSwitch) -> Iterator[Callable[..., str]]:
    """Runs ovs-ofctl on a bridge that is there while the test runs."""
    run_dir = openvswitch.own.run_dir

    def run(tool: str, *words: str) -> str:
        command = {"vsctl": ["ovs-vsctl", f"--db=unix:{run_dir}/db.sock"], "ofctl": ["ovs-ofctl", "-O", "OpenFlow15"]}[
            tool
        ]
        environment = os.environ | {"OVS_RUNDIR": str(run_dir)}
        return subprocess.run([*command, *words], check=True, capture_output=True, text=True, env=environment).stdout

    settings = ["datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow15"]
    run("vsctl", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, *settings)
    yield lambda verb, *words: run("ofctl", verb, f"unix:{run_dir}/{BRIDGE}.mgmt", *words)
    run("vsctl", "del-br", BRIDGE)


@pytest.fixture
def switch(openvswitch: TestOpenVSwitch, ofctl: Callable[..., str]) -> Iterator[Switch]:
    switch = Switch(str(openvswitch.own.run_dir / f"{BRIDGE}.mgmt"), FlowState())
    answer(switch, "connected")
    yield switch
    switch.close()


def answer(switch: Switch, kind: str, ticket: int | None = None) -> SwitchEvent:
    """The next event of a kind, which answers this ticket."""
    until_s = time.monotonic() + ANSWER_S
    while time.monotonic() < until_s:
        select.select([switch.fileno()], [], [], 1)
        for event in switch.events():
            if event.kind == kind and ticket in (None, event.ticket):
                return event
    raise TimeoutError(f"no {kind} within {ANSWER_S} s")


def sync(switch: Switch, groups: Groups) -> tuple[int, int, int]:
    event = answer(switch, "synced", switch.sync_groups(groups))
    assert event.lines == [], "nothing is refused"
    return event.counts


def held(switch: Switch) -> dict[int, tuple[str, dict[int, str]]]:
    dumped = answer(switch, "dumped", switch.dump())
    return {number: (kind, dict(buckets)) for number, kind, buckets in dumped.groups}


EACH_KIND: Groups = {
    1: all_of(1, 2, 3),
    2: {"kind": "select", "buckets": {5: {"output": 1, "weight": 10}, 9: {"output": 2, "tunnel_ip": "192.0.2.9"}}},
    3: {"kind": "indirect", "buckets": {0: {"output": 7}}},
    4: {"kind": "failover", "buckets": {0: {"output": 1, "watch_port": 1}, 1: {"output": 2, "watch_port": 2}}},
}


def test_groups_of_each_kind_are_held_as_meant(switch: Switch, ofctl: Callable[..., str]) -> None:
    assert sync(switch, EACH_KIND) == (4, 0, 0)
    assert held(switch) == {
        1: ("all", {1: "output 1", 2: "output 2", 3: "output 3"}),
        2: ("select", {5: "output 1", 9: "set tun_dst=192.0.2.9, output 2"}),
        3: ("indirect", {0: "output 7"}),
        4: ("failover", {0: "output 1", 1: "output 2"}),
    }
    assert answer(switch, "audited", switch.audit()).lines == [], (
        "what is read back is what was sent, weights and watches too"
    )
    assert sync(switch, EACH_KIND) == (0, 0, 0)
    theirs = ofctl("dump-groups")
    assert f"group_id={0x6F730001},type=all" in theirs and "weight:10" in theirs and "watch_port:2" in theirs


def test_buckets_come_and_go_one_by_one(switch: Switch, ofctl: Callable[..., str]) -> None:
    many = list(range(1, 1001))
    sync(switch, {1: all_of(*many)})
    # One in the middle goes, one comes: two small messages.
    assert sync(switch, {1: all_of(*many[:500], *many[501:], 2000)}) == (0, 2, 0)
    assert list(held(switch)[1][1]) == [*many[:500], *many[501:], 2000]
    assert sync(switch, {1: all_of(7)}) == (0, 1, 0), "whole where that is less"
    assert sync(switch, {}) == (0, 0, 1)
    assert held(switch) == {}


def test_what_drifts_is_told_and_mended_and_others_groups_stay(switch: Switch, ofctl: Callable[..., str]) -> None:
    ofctl("add-group", "group_id=5,type=all,bucket=actions=output:9")
    sync(switch, {1: all_of(1, 2), 2: all_of(3)})
    ours = [0x6F730000 + number for number in (1, 2, 8)]
    ofctl("del-groups", f"group_id={ours[0]}")
    ofctl("mod-group", f"group_id={ours[1]},type=all,bucket=bucket_id:3,actions=output:4")
    ofctl("add-group", f"group_id={ours[2]},type=all,bucket=actions=output:9")
    told = answer(switch, "audited", switch.audit()).lines
    assert sorted(told) == ["different: group 2", "missing: group 1", "unwanted: group 8"]
    assert held(switch) == {1: ("all", {1: "output 1", 2: "output 2"}), 2: ("all", {3: "output 3"})}
    assert "group_id=5," in ofctl("dump-groups")


def test_a_switch_that_was_restarted_is_refilled(switch: Switch, openvswitch: TestOpenVSwitch) -> None:
    sync(switch, EACH_KIND)
    before = held(switch)
    openvswitch.kill_switch()
    answer(switch, "disconnected")
    trio.run(openvswitch.own.start_daemon, openvswitch.own.daemons[1])
    assert answer(switch, "refilled").counts == (4, 0, 0)
    assert held(switch) == before


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ({1: {"kind": "some", "buckets": {}}}, "unknown variant `some`"),
        ({70_000: all_of(1)}, "invalid value|u16|range|expand"),
        ({1: {"kind": "indirect", "buckets": {}}}, "an indirect group has one bucket, not 0"),
        ({1: all_of(*range(5000))}, "too large"),
        ({1: {"kind": "all", "buckets": {0: {"output": 1, "put": 2}}}}, "unknown field `put`"),
        (7, "groups"),
    ],
)
def test_what_is_no_group_is_refused(switch: Switch, groups: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        switch.sync_groups(groups)
    assert held(switch) == {}
