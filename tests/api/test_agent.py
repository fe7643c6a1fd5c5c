"""The agent protocol over HTTP."""

from __future__ import annotations

import trio

from ostro.model.wishes import AskWish, Noun
from ostro.services.agents.hosts import declare_dead, is_up
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.wishes import set_wish, wish_absence
from ostro.testing.cloud import ApiClient, TestCloud

INVENTORY = {
    "vcpus": 4,
    "ram_mb": 8192,
    "disk_gb": 100,
    "hypervisor_type": "fake",
    "hypervisor_version": 1,
    "cpu_info": "{}",
}


async def _register(cloud: TestCloud, incarnation: str = "one") -> tuple[ApiClient, str]:
    agent = cloud.as_agent.with_headers(X_Agent_Incarnation=incarnation)
    body = {"name": "host-a", "incarnation": incarnation, "tunnel_ip": "127.0.0.1", "inventory": INVENTORY}
    answer = await agent.post("/agent/v1/hosts", body)
    assert answer.status == 200, answer.body
    return agent, answer.json["host_id"]


async def test_without_the_key_is_401(cloud: TestCloud) -> None:
    assert (await cloud.anonymous.post("/agent/v1/hosts", {})).status == 401


async def test_same_name_is_same_host_and_old_incarnation_is_refused(cloud: TestCloud) -> None:
    old, host_id = await _register(cloud, "one")
    new, again = await _register(cloud, "two")
    assert again == host_id
    assert (await old.get(f"/agent/v1/hosts/{host_id}/wishes?since=0")).status == 404
    assert (await new.get(f"/agent/v1/hosts/{host_id}/wishes?since=0")).status == 200


async def test_feed_is_full_then_incremental_then_waits(cloud: TestCloud, nursery: trio.Nursery) -> None:
    agent, host_id = await _register(cloud)
    path = f"/agent/v1/hosts/{host_id}/wishes"
    full = (await agent.get(f"{path}?since=0")).json
    assert full["full"] and full["wishes"] == []
    ask = AskWish("a1", "console_log", "s1")
    answers: list[object] = []

    async def poll() -> None:
        answers.append((await agent.get(f"{path}?since={full['revision']}&wait_s=30")).json)

    async with trio.open_nursery() as polls:
        polls.start_soon(poll)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await cloud.db.run(set_wish, host_id, Noun.ASK, "a1", ask)
    assert answers == [
        {
            "revision": 2,
            "full": False,
            "wishes": [
                {
                    "noun": "ask",
                    "id": "a1",
                    "generation": 2,
                    "body": {"id": "a1", "what": "console_log", "server_id": "s1", "length": -1},
                }
            ],
        }
    ]


async def test_absence_reported_at_its_generation_forgets_the_wish(cloud: TestCloud) -> None:
    agent, host_id = await _register(cloud)
    await cloud.db.run(set_wish, host_id, Noun.ASK, "a1", AskWish("a1", "console_log", "s1"))
    generation = await cloud.db.run(wish_absence, host_id, Noun.ASK, "a1")

    async def report(reported: int) -> int:
        body = {"reports": [{"noun": "ask", "id": "a1", "generation": reported, "phase": "absent"}]}
        answer = await agent.post(f"/agent/v1/hosts/{host_id}/reports", body)
        return int(answer.json["kept"])

    assert await report(generation - 1) == 1  # kept, yet of the wish before: nothing is forgotten
    feed = (await agent.get(f"/agent/v1/hosts/{host_id}/wishes?since=0")).json
    assert [w["body"] for w in feed["wishes"]] == [None]
    assert await report(generation) == 1
    feed = (await agent.get(f"/agent/v1/hosts/{host_id}/wishes?since=0")).json
    assert feed["wishes"] == []
    assert await report(generation) == 0


async def test_a_report_may_be_large_and_only_an_agents(cloud: TestCloud) -> None:
    agent, host_id = await _register(cloud)
    await cloud.db.run(set_wish, host_id, Noun.ASK, "a1", AskWish("a1", "console_log", "s1"))
    large = {"noun": "ask", "id": "a1", "generation": 2, "phase": "ready", "answer": "\x1b" * (512 << 10)}
    path = f"/agent/v1/hosts/{host_id}/reports"
    answer = await agent.post(path, {"reports": [large]})
    assert (answer.status, answer.json) == (200, {"kept": 1})
    assert (await cloud.anonymous.post(path, {"reports": [large]})).status == 401
    assert (await agent.post(path, {"reports": [{**large, "answer": "x" * (17 << 20)}]})).status == 413


async def test_a_host_declared_dead_is_told_so_and_heard_when_it_knows(cloud: TestCloud) -> None:
    agent, host_id = await _register(cloud)
    path = f"/agent/v1/hosts/{host_id}/wishes?since=0"
    polled: list[int] = []

    async def poll() -> None:
        polled.append((await agent.get(f"{path.replace('=0', '=1')}&wait_s=60")).status)

    with trio.fail_after(30):
        async with trio.open_nursery() as polls:
            polls.start_soon(poll)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await cloud.db.run(declare_dead, cloud.admin_context(), host_id)
    assert polled == [404]
    _agent, same_id = await _register(cloud)
    assert same_id == host_id
    assert (await agent.get(path)).status == 404, "it has not shown that it knows"
    body = {"name": "host-a", "incarnation": "one", "tunnel_ip": "127.0.0.1", "inventory": INVENTORY}
    answer = await agent.post("/agent/v1/hosts", {**body, "epoch": 2})
    assert (answer.json["epoch"], answer.json["fence_s"]) == (2, 0.0)
    assert (await agent.with_headers(X_Agent_Epoch="2").get(path)).status == 200
    for nonsense in ("x", "-1", "9" * 30, "\u0662"):
        assert (await agent.with_headers(X_Agent_Epoch=nonsense).get(path)).status == 400


async def test_a_clock_that_is_set_back_leaves_a_silent_host_down(cloud: TestCloud) -> None:
    agent, host_id = await _register(cloud)

    def seen(tx: Tx) -> Host:
        return HOSTS.get(tx, host_id)

    now_us = cloud.world.now_us()
    await cloud.db.run(lambda tx: HOSTS.update(tx, host_id, seen_at_us=now_us + 3_600_000_000))
    assert not is_up(await cloud.db.read(seen), now_us)
    assert (await agent.get(f"/agent/v1/hosts/{host_id}/wishes?since=0")).status == 200
    assert is_up(await cloud.db.read(seen), cloud.world.now_us())
