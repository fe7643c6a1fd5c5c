"""``ostro._core``'s placement from Python: conversion, errors, threads. What it decides is tested in ``rust/placement``."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ostro._core import HostTable, NoRoom, Request


def _host(vcpus: int = 8, memory_mb: int = 8192, **rest: Any) -> dict[str, Any]:
    return {"inventories": {"VCPU": {"total": vcpus}, "MEMORY_MB": {"total": memory_mb}}, **rest}


def _table(hosts: int = 3) -> HostTable:
    table = HostTable()
    for number in range(hosts):
        table.set_host(f"h{number}", _host())
    return table


def test_deltas_steer_decisions() -> None:
    table = _table()
    asked = {"resources": {"VCPU": 2, "MEMORY_MB": 4096}}
    table.add_used("h0", {"MEMORY_MB": 5000})
    table.set_used("h1", {"VCPU": 4})
    assert table.place(asked).hosts == ["h2", "h1"]
    table.add_used("h0", {"MEMORY_MB": -5000})
    table.set_enabled("h2", False)
    assert table.place(asked, limit=1).hosts == ["h0"]
    assert len(table) == 3 and "h2" in table and table.remove_host("h2") and not table.remove_host("h2")


def test_a_decision_explains_itself() -> None:
    decision = _table().place({"resources": {"MEMORY_MB": 9000}})
    assert decision.hosts == []
    assert decision.rejected == [("not enough MEMORY_MB (asked 9000)", 3)]
    assert decision.explanation == ["3 hosts: not enough MEMORY_MB (asked 9000)"]
    assert _table().place({"resources": {"VCPU": 1}}, explain=True).rejected == []


def test_a_claim_holds_once_and_can_be_given_back() -> None:
    table = _table(1)
    request = Request({"resources": {"VCPU": 5}, "server_group": {"id": "g", "policy": "anti-affinity"}})
    claim = table.place(request).claim()
    assert claim is not None and claim["allocations"] == {"h0": {"VCPU": 5}} and claim["mappings"] == {"": ["h0"]}
    table.claim(claim)
    with pytest.raises(NoRoom, match="not enough VCPU"):
        table.claim(claim)
    assert table.place(request).explanation == ["1 host: already 1 member(s) of server group g"]
    table.release(claim)
    assert table.place(request).claim() == claim
    assert table.place(request).claim(1) is None


def test_many_are_placed_or_none() -> None:
    table = _table()
    request = Request({"resources": {"VCPU": 3}})
    batch = table.place_many([(request, 6)])
    assert batch.complete and sorted(batch.orders[0].hosts) == ["h0", "h0", "h1", "h1", "h2", "h2"]
    assert table.place_many([(request, 7)]).orders[0].hosts == []
    partly = table.place_many([(request, 7), ({"resources": {"VCPU": 2}}, 1)], all_or_nothing=False)
    assert [len(order.hosts) for order in partly.orders] == [6, 1] and not partly.complete
    assert table.how_many(request) == 6
    assert len(table.drain("h0", [(request, 7)]).orders[0].hosts) == 4


def test_a_snapshot_is_independent() -> None:
    table = _table(1)
    aside = table.snapshot()
    aside.set_host("new", _host())
    aside.add_used("h0", {"VCPU": 8})
    assert table.place({"resources": {"VCPU": 8}}).hosts == ["h0"]
    assert aside.place({"resources": {"VCPU": 8}}).hosts == ["new"]


def test_trees_and_numa_cells() -> None:
    table = HostTable()
    port = {"id": "nic", "inventories": {"NET_BW_EGR_KILOBIT_PER_SEC": {"total": 100}}, "traits": ["CUSTOM_PHYSNET_A"]}
    cell = {"id": 0, "cores": [[0, 2], [1, 3]], "pages": {4: 1_000_000, 2048: 512}}
    table.set_host("h", _host(providers=[port], numa=[cell]))
    group = {"resources": {"NET_BW_EGR_KILOBIT_PER_SEC": 60}, "required": ["CUSTOM_PHYSNET_A"]}
    numa = {"cells": [{"pinned": 2, "memory_mb": 512}], "page": {"kb": 2048}}
    claim = table.place({"resources": {"VCPU": 2}, "groups": {"_net": group}, "numa": numa}).claim()
    assert claim is not None
    assert claim["allocations"] == {"h": {"VCPU": 2}, "nic": {"NET_BW_EGR_KILOBIT_PER_SEC": 60}}
    assert claim["cells"][0]["pinned"] == [0, 2] and claim["cells"][0]["pages"] == 256
    table.claim(claim)
    table.add_used("h", {"NET_BW_EGR_KILOBIT_PER_SEC": -60}, provider="nic")
    assert table.candidates({"resources": {"VCPU": 1}, "groups": {"_net": group}})[0]["mappings"]["_net"] == ["nic"]


def test_placement_s_query_is_read() -> None:
    request, limit = Request.from_query([("resources", "VCPU:1"), ("required", "!CUSTOM_SLOW"), ("limit", "5")])
    assert limit == 5 and len(_table().place(request).hosts) == 3
    with pytest.raises(ValueError, match="Badly formed resources"):
        Request.from_query([("resources", "VCPU")])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda table: table.set_host("h", {"inventories": {"VCPU": {"totl": 1}}}), ValueError, "unknown field `totl`"),
        (lambda table: table.set_used("nobody", {"VCPU": 1}), KeyError, "no host"),
        (lambda table: table.add_used("h0", {"VCPU": 1}, provider="x"), KeyError, "no provider"),
        (lambda table: table.place({"resources": {}}), ValueError, "at least one resource"),
        (lambda table: table.place({"colour": "red"}), ValueError, "unknown field `colour`"),
        (lambda table: table.set_group("g", {"nobody": 1}), KeyError, "no host"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(_table())


def test_threads_may_share_a_table() -> None:
    table = _table(200)
    request = Request({"resources": {"VCPU": 1}})
    taken: list[str] = []

    def work(seed: int) -> None:
        for _ in range(200):
            claim = table.place(request, seed=seed, limit=1).claim()
            if claim is None:
                continue
            try:
                table.claim(claim)
            except NoRoom:
                continue
            taken.append(claim["host"])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(taken.count(host) for host in set(taken)) <= 8
    assert len(taken) + table.how_many(request) == 1600
