"""Servers over HTTP, with a simulated host."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.wishes import Noun, Power
from ostro.store.inventories import INVENTORIES, count_wrong_sums
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host, an image, and a flavor ``f``."""
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post(f"{COMPUTE}/flavors", flavor)).status == 200
    return host


def compute(client: ApiClient, version: str = "2.79") -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


def body(**more: Any) -> dict[str, Any]:
    return {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none", **more}}


async def boot(cloud: TestCloud, host: SimHost, **more: Any) -> str:
    client = compute(cloud.as_admin)
    answer = await client.post(f"{COMPUTE}/servers", body(**more))
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    return str(answer.json["server"]["id"])


async def show(cloud: TestCloud, server_id: str, version: str = "2.79") -> dict[str, Any]:
    answer = await compute(cloud.as_admin, version).get(f"{COMPUTE}/servers/{server_id}")
    assert answer.status == 200, answer.body
    return dict(answer.json["server"])


async def used(cloud: TestCloud, host: SimHost) -> dict[str, int]:
    rows = await cloud.db.read(lambda tx: INVENTORIES.list(tx, provider_id=host.host_id))
    assert await cloud.db.read(count_wrong_sums) == 0
    return {row.resource_class: row.used for row in rows}


async def test_create_shows_build_then_active_then_404(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud.as_admin)
    answer = await client.post(f"{COMPUTE}/servers", body())
    assert answer.status == 202
    server_id = answer.json["server"]["id"]
    assert answer.headers["Location"].endswith(f"{COMPUTE}/servers/{server_id}")
    server = await show(cloud, server_id)
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("BUILD", "spawning")
    await converge(cloud, host)
    server = await show(cloud, server_id)
    assert (server["status"], server["OS-EXT-STS:power_state"]) == ("ACTIVE", 1)
    assert server["flavor"]["original_name"] == "small"
    assert server["OS-EXT-SRV-ATTR:host"] == "host-a"
    assert (await used(cloud, host)) == {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
    assert (await client.delete(f"{COMPUTE}/servers/{server_id}")).status == 204
    assert (await client.delete(f"{COMPUTE}/servers/{server_id}")).status == 204
    assert (await show(cloud, server_id))["OS-EXT-STS:task_state"] == "deleting"
    await converge(cloud, host)
    assert (await client.get(f"{COMPUTE}/servers/{server_id}")).status == 404
    assert (await client.delete(f"{COMPUTE}/servers/{server_id}")).status == 404
    assert (await used(cloud, host)) == {"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}
    assert host.things == {}


async def test_unknown_image_and_flavor_are_400_as_nova_says(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud.as_admin)
    other = "22222222-2222-4222-8222-222222222222"
    answer = await client.post(f"{COMPUTE}/servers", body(imageRef=other))
    assert (answer.status, answer.json["badRequest"]["message"]) == (400, "Can not find requested image")
    answer = await client.post(f"{COMPUTE}/servers", body(flavorRef="none"))
    assert (answer.status, answer.json["badRequest"]["message"]) == (400, "Flavor none could not be found.")
    answer = await client.post(f"{COMPUTE}/servers", body(key_name="nokey"))
    assert (answer.status, answer.json["badRequest"]["message"]) == (400, "Invalid key_name provided.")
    answer = await client.post(f"{COMPUTE}/servers", body(user_data="a"))
    assert answer.status == 400
    answer = await client.post(f"{COMPUTE}/servers", body(bogus=1))
    assert answer.status == 400
    assert (await used(cloud, host))["VCPU"] == 0


async def test_no_room_is_error_with_the_reason(cloud: TestCloud, host: SimHost) -> None:
    big = {"flavor": {"name": "big", "id": "big", "ram": 1 << 20, "vcpus": 1, "disk": 1}}
    await cloud.as_admin.post(f"{COMPUTE}/flavors", big)
    server_id = await boot(cloud, host, flavorRef="big")
    server = await show(cloud, server_id)
    assert server["status"] == "ERROR"
    assert server["fault"]["message"].startswith("No valid host was found.")
    assert "MEMORY_MB" in server["fault"]["message"]
    assert (await compute(cloud.as_admin).delete(f"{COMPUTE}/servers/{server_id}")).status == 204
    assert (await compute(cloud.as_admin).get(f"{COMPUTE}/servers/{server_id}")).status == 404


async def test_several_at_once_by_reservation(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud.as_admin)
    answer = await client.post(f"{COMPUTE}/servers", body(min_count=2, max_count=3, return_reservation_id=True))
    reservation = answer.json["reservation_id"]
    await converge(cloud, host)
    answer = await client.get(f"{COMPUTE}/servers/detail?reservation_id={reservation}")
    assert sorted(s["name"] for s in answer.json["servers"]) == ["web-1", "web-2", "web-3"]
    assert {s["status"] for s in answer.json["servers"]} == {"ACTIVE"}


async def test_stop_start_reboot_and_states(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host)
    client = compute(cloud.as_admin)
    path = f"{COMPUTE}/servers/{server_id}/action"
    assert (await client.post(path, {"os-start": None})).status == 409
    assert (await client.post(path, {"os-stop": None})).status == 202
    assert (await show(cloud, server_id))["OS-EXT-STS:task_state"] == "powering-off"
    assert (await client.post(path, {"os-stop": None})).status == 409
    await converge(cloud, host)
    assert (await show(cloud, server_id))["status"] == "SHUTOFF"
    assert (await client.post(path, {"reboot": {"type": "SOFT"}})).status == 409
    assert (await client.post(path, {"os-start": None})).status == 202
    await converge(cloud, host)
    assert (await show(cloud, server_id))["status"] == "ACTIVE"
    assert (await client.post(path, {"reboot": {"type": "HARD"}})).status == 202
    assert (await show(cloud, server_id))["status"] == "HARD_REBOOT"
    await converge(cloud, host)
    assert (await show(cloud, server_id))["status"] == "ACTIVE"
    assert (await client.post(path, {"nonsense": None})).status == 400
    assert (await client.post(path, {"rescue": {}})).status == 501
    actions = (await client.get(f"{COMPUTE}/servers/{server_id}/os-instance-actions")).json["instanceActions"]
    assert [a["action"] for a in actions] == ["reboot", "start", "stop", "create"]


async def test_guest_that_powers_off_stays_off(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host)
    generation, wish = 0, host.things[Noun.SERVER, server_id]
    host.powers[server_id] = Power.OFF
    row = await cloud.db.read(lambda tx: tx.one("SELECT generation FROM wishes WHERE id = ?", (server_id,)))
    assert row is not None
    generation = row[0]
    host.wished[Noun.SERVER, server_id] = (generation, wish)
    await host.report()
    server = await show(cloud, server_id)
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("SHUTOFF", None)
    host.powers.clear()
    await converge(cloud, host)
    assert host.things[Noun.SERVER, server_id]["power"] == "off"
    assert (await show(cloud, server_id))["status"] == "SHUTOFF"


async def test_console_output(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud.as_admin)
    answer = await client.post(f"{COMPUTE}/servers", body())
    server_id = answer.json["server"]["id"]
    path = f"{COMPUTE}/servers/{server_id}/action"
    assert (await client.post(path, {"os-getConsoleOutput": {"length": 3}})).status == 409
    await converge(cloud, host)
    host.answer = lambda ask: f"last {ask['length']} lines of {ask['server_id']}"

    async def reply() -> None:
        await host.read_wishes(30)
        await host.report()

    cloud.nursery.start_soon(reply)
    answer = await client.post(path, {"os-getConsoleOutput": {"length": 3}})
    assert answer.json == {"output": f"last 3 lines of {server_id}"}
    await converge(cloud, host)
    assert not [key for key in host.things if key[0] is Noun.ASK]


async def test_a_host_that_gives_up_makes_error_and_gives_everything_back(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud.as_admin)
    server_id = (await client.post(f"{COMPUTE}/servers", body())).json["server"]["id"]
    host.failing[server_id] = "The image is damaged."
    await converge(cloud, host)
    server = await show(cloud, server_id)
    assert (server["status"], server["fault"]["message"]) == ("ERROR", "The image is damaged.")
    assert (await used(cloud, host))["VCPU"] == 0
    assert host.things == {}
    assert (await client.delete(f"{COMPUTE}/servers/{server_id}")).status == 204
    assert (await client.get(f"{COMPUTE}/servers/{server_id}")).status == 404


async def test_what_changes_while_a_failed_server_is_cleared_away_does_not_bring_it_back(
    cloud: TestCloud, host: SimHost
) -> None:
    client = compute(cloud.as_admin)
    path = f"{COMPUTE}/servers/{(await client.post(f'{COMPUTE}/servers', body())).json['server']['id']}"
    server_id = path.rpartition("/")[2]
    host.failing[server_id] = "No."
    await host.sync()
    await cloud.sagas.step()
    host.failing.clear()
    assert (await client.post(f"{path}/metadata", {"metadata": {"a": "b"}})).status == 200
    await host.sync()
    assert (await client.post(f"{path}/action", {"lock": None})).status == 202
    await converge(cloud, host)
    assert (await show(cloud, server_id))["status"] == "ERROR"
    assert host.things == {}
    assert (await used(cloud, host))["VCPU"] == 0


async def test_another_tenants_server_is_404(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host)
    other = compute(await cloud.add_user("eve", "evil"))
    path = f"{COMPUTE}/servers/{server_id}"
    for answer in (
        await other.get(path),
        await other.delete(path),
        await other.put(path, {"server": {"name": "mine"}}),
        await other.post(f"{path}/action", {"os-stop": None}),
        await other.get(f"{path}/metadata"),
        await other.get(f"{path}/os-instance-actions"),
        await other.get(f"{path}/os-interface"),
        await other.get(f"{path}/os-volume_attachments"),
    ):
        assert answer.status == 404
    assert (await other.get(f"{COMPUTE}/servers")).json["servers"] == []
    assert (await other.get(f"{COMPUTE}/servers?all_tenants=1")).status == 403


async def test_list_filters_sorts_and_pages(cloud: TestCloud, host: SimHost) -> None:
    for name in ("web-a", "web-b", "db-a"):
        await boot(cloud, host, name=name)
    client = compute(cloud.as_admin)

    async def names(query: str) -> list[str]:
        answer = await client.get(f"{COMPUTE}/servers{query}")
        assert answer.status == 200, answer.body
        return [s["name"] for s in answer.json["servers"]]

    assert await names("?sort_key=display_name&sort_dir=asc") == ["db-a", "web-a", "web-b"]
    assert await names("?name=web&sort_key=display_name&sort_dir=asc") == ["web-a", "web-b"]
    assert await names("?name=%5E.%2B-a%24&sort_key=display_name&sort_dir=asc") == ["db-a", "web-a"]
    assert await names("?status=ACTIVE&name=db") == ["db-a"]
    assert await names("?status=SHUTOFF") == []
    assert await names("?limit=0") == []
    first = (await client.get(f"{COMPUTE}/servers?limit=2&sort_key=display_name&sort_dir=asc")).json
    assert [s["name"] for s in first["servers"]] == ["db-a", "web-a"]
    href = first["servers_links"][0]["href"]
    rest = (await client.get(href[href.index(COMPUTE) :])).json
    assert [s["name"] for s in rest["servers"]] == ["web-b"] and "servers_links" not in rest
    assert (await client.get(f"{COMPUTE}/servers?limit=-1")).status == 400
    assert (await client.get(f"{COMPUTE}/servers?changes-since=2011")).status == 400
    assert (await client.get(f"{COMPUTE}/servers?status=bogus")).status == 400


async def test_metadata_and_tags(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host, metadata={"a": "1"})
    client = compute(cloud.as_admin)
    path = f"{COMPUTE}/servers/{server_id}"
    assert (await client.post(f"{path}/metadata", {"metadata": {"b": "2"}})).json == {"metadata": {"a": "1", "b": "2"}}
    assert (await client.put(f"{path}/metadata/c", {"meta": {"c": "3"}})).json == {"meta": {"c": "3"}}
    assert (await client.delete(f"{path}/metadata/a")).status == 204
    assert (await client.put(f"{path}/metadata", {"metadata": {"z": "9"}})).json == {"metadata": {"z": "9"}}
    await converge(cloud, host)
    assert host.things[Noun.SERVER, server_id]["metadata"] == {"z": "9"}
    assert (await client.put(f"{path}/tags", {"tags": ["x", "y"]})).json == {"tags": ["x", "y"]}
    assert (await client.put(f"{path}/tags/w")).status == 201
    assert (await client.get(f"{path}/tags/w")).status == 204
    assert (await client.delete(f"{path}/tags/w")).status == 204
    answer = await client.get(f"{COMPUTE}/servers/detail?tags=x,y")
    assert [s["id"] for s in answer.json["servers"]] == [server_id]
    assert (await client.get(f"{COMPUTE}/servers?not-tags=x")).json["servers"] == []


async def test_the_project_may_stand_in_the_url(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host)
    shown = await show(cloud, server_id)
    root = f"{COMPUTE}/{shown['tenant_id']}"
    admin = compute(cloud.as_admin)
    assert (await admin.get(f"{root}/servers/{server_id}")).json["server"] == shown
    assert [s["id"] for s in (await admin.get(f"{root}/servers/detail")).json["servers"]] == [server_id]
    assert (await admin.get(f"{root}/os-quota-sets/{shown['tenant_id']}")).status == 200
    stopped = await admin.post(f"{root}/servers/{server_id}/action", {"os-stop": None})
    assert stopped.status == 202
    foreign = await admin.get(f"{COMPUTE}/{'0' * 32}/servers")
    assert foreign.status == 400
    assert foreign.json["badRequest"]["message"].startswith("Malformed request URL: URL's project_id")
    assert (await cloud.anonymous.get(f"{root}/servers")).status == 401
    assert (await admin.get(f"{COMPUTE}/nonsense/servers")).status == 404


async def test_an_image_that_is_larger_than_the_flavors_disk(cloud: TestCloud, host: SimHost) -> None:
    large = IMAGE_ID[:-1] + "2"
    await cloud.db.run(lambda tx: put_image(tx, id=large, virtual_size_bytes=2 << 30))
    picky = IMAGE_ID[:-1] + "3"
    await cloud.db.run(lambda tx: put_image(tx, id=picky, min_disk_gb=2, min_ram_mb=1))
    hungry = IMAGE_ID[:-1] + "4"
    await cloud.db.run(lambda tx: put_image(tx, id=hungry, min_ram_mb=4096))
    client = compute(cloud.as_admin)
    for image_id, words in (
        (large, "Flavor's disk is too small for requested image."),
        (picky, "Flavor's disk is smaller than the minimum size"),
        (hungry, "Flavor's memory is too small for requested image."),
    ):
        answer = await client.post(f"{COMPUTE}/servers", body(imageRef=image_id))
        assert answer.status == 400
        assert answer.json["badRequest"]["message"].startswith(words)
    assert (await client.get(f"{COMPUTE}/servers")).json["servers"] == []


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"user_data": "***"}, 400),
        ({"user_data": "YQ="}, 400),
        ({"user_data": "YQ==\n"}, 202),
        ({"accessIPv4": "notvalid"}, 400),
        ({"accessIPv6": "notvalid"}, 400),
        ({"accessIPv4": "2001:db8::1"}, 400),
        ({"metadata": {f"k{n}": "v" for n in range(129)}}, 403),
    ],
)
async def test_what_a_server_may_be_created_with(
    cloud: TestCloud, host: SimHost, given: dict[str, Any], status: int
) -> None:
    answer = await compute(cloud.as_admin).post(f"{COMPUTE}/servers", body(**given))
    assert answer.status == status, answer.body


async def test_access_addresses_are_shown_in_their_shortest_form(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host, accessIPv6="0:0::babe:220.12.22.2", accessIPv4="192.0.2.1")
    server = await show(cloud, server_id)
    assert (server["accessIPv6"], server["accessIPv4"]) == ("::babe:dc0c:1602", "192.0.2.1")
    path = f"{COMPUTE}/servers/{server_id}"
    changed = await compute(cloud.as_admin).put(path, {"server": {"accessIPv4": "", "accessIPv6": "2001:DB8:0::1"}})
    assert (changed.json["server"]["accessIPv4"], changed.json["server"]["accessIPv6"]) == ("", "2001:db8::1")


async def test_a_locked_server_may_be_renamed(cloud: TestCloud, host: SimHost) -> None:
    server_id = await boot(cloud, host)
    member = compute(await cloud.add_user("amy", "admin"))
    path = f"{COMPUTE}/servers/{server_id}"
    assert (await member.post(f"{path}/action", {"lock": None})).status == 202
    assert (await member.post(f"{path}/action", {"os-stop": None})).status == 409
    assert (await member.put(path, {"server": {"name": "other"}})).status == 200


async def test_an_action_we_do_not_have_on_a_server_that_is_not_there_is_404(cloud: TestCloud, host: SimHost) -> None:
    missing = "8d1e7cd2-7231-442e-98d0-3bc464d2b6c1"
    client = compute(cloud.as_admin)
    assert (await client.post(f"{COMPUTE}/servers/{missing}/action", {"restore": None})).status == 404
    server_id = await boot(cloud, host)
    assert (await client.post(f"{COMPUTE}/servers/{server_id}/action", {"restore": None})).status == 501


async def test_versions_that_are_not_there_and_the_list_of_those_that_are(cloud: TestCloud) -> None:
    refused = await compute(cloud.as_admin, "2.999").get(f"{COMPUTE}/servers")
    assert (refused.status, list(refused.json)) == (406, ["computeFault"])
    versions = (await cloud.anonymous.get("/compute/")).json["versions"]
    assert [v["id"] for v in versions] == ["v2.0", "v2.1"]
    assert (versions[0]["version"], versions[0]["links"][0]["href"].endswith("/compute/v2/")) == ("", True)


async def test_lists_of_actions_take_the_parameters_of_their_version(cloud: TestCloud, host: SimHost) -> None:
    path = f"{COMPUTE}/servers/{await boot(cloud, host)}/os-instance-actions"
    for version, query, status in (
        ("2.57", "nonsense=1", 200),
        ("2.58", "nonsense=1", 400),
        ("2.58", "changes-before=2030-01-01T00:00:00Z", 400),
        ("2.66", "changes-before=2030-01-01T00:00:00Z", 200),
        ("2.66", "limit=1", 200),
    ):
        assert (await compute(cloud.as_admin, version).get(f"{path}?{query}")).status == status, (version, query)
