"""Where a server's time went."""

from __future__ import annotations

from typing import Any

from ostro.model.wishes import Stage
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

SERVERS = "/compute/v2.1/servers"


async def boot(cloud: TestCloud) -> tuple[SimHost, ApiClient, str]:
    """A server that was asked for."""
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await client.post("/compute/v2.1/flavors", flavor)).status == 200
    body = {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"}}
    return host, client, (await client.post(SERVERS, body)).json["server"]["id"]


async def timeline(client: ApiClient, server_id: str) -> list[dict[str, Any]]:
    answer = await client.get(f"{SERVERS}/{server_id}/timeline")
    assert answer.status == 200, answer.body
    return list(answer.json["timeline"])


def names(action: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in action["stages"]]


async def test_stages_of_each_action_in_order(cloud: TestCloud) -> None:
    host, client, server_id = await boot(cloud)
    (create,) = await timeline(client, server_id)
    assert (names(create), create["total_ms"], create["result"]) == (["accepted"], None, None)
    now_us = cloud.world.now_us()
    host.stages = [Stage("taken", now_us), Stage("image ready", now_us + 1), Stage("started", now_us + 2)]
    await converge(cloud, host)
    (create,) = await timeline(client, server_id)
    assert names(create) == ["accepted", "taken", "image ready", "started", "reported", "finished"]
    assert create["result"] == "Success"
    assert create["stages"][-1]["after_ms"] == create["total_ms"]
    assert all(stage["took_ms"] >= 0 for stage in create["stages"])
    host.stages = [Stage("stopped", cloud.world.now_us())]
    await client.post(f"{SERVERS}/{server_id}/action", {"os-stop": None})
    await converge(cloud, host)
    _, stop = await timeline(client, server_id)
    assert (stop["action"], names(stop)) == ("stop", ["accepted", "stopped", "reported", "finished"])
    await client.delete(f"{SERVERS}/{server_id}")
    await converge(cloud, host)
    assert (await timeline(client, server_id))[-1]["action"] == "delete", "also of one that is gone"


async def test_a_hosts_clock_may_be_wrong(cloud: TestCloud) -> None:
    host, client, server_id = await boot(cloud)
    day_us = 86_400_000_000
    now_us = cloud.world.now_us()
    host.stages = [Stage("early", now_us - day_us), Stage("late", now_us + day_us)]
    await converge(cloud, host)
    (create,) = await timeline(client, server_id)
    assert names(create) == ["accepted", "early", "late", "reported", "finished"]
    assert create["stages"][1]["after_ms"] == 0
    assert create["total_ms"] < day_us / 1000


async def test_a_failure_says_why(cloud: TestCloud) -> None:
    host, client, server_id = await boot(cloud)
    host.failing[server_id] = "No such disk."
    await converge(cloud, host)
    (create,) = await timeline(client, server_id)
    assert (create["result"], create["message"]) == ("Error", "No such disk.")


async def test_another_project_sees_nothing(cloud: TestCloud) -> None:
    _host, _client, server_id = await boot(cloud)
    ann = await cloud.add_user("ann", "p1")
    assert (await ann.get(f"{SERVERS}/{server_id}/timeline")).status == 404
    assert (await cloud.anonymous.get(f"{SERVERS}/{server_id}/timeline")).status == 401
