"""Volumes of servers over HTTP: plugged in and pulled out, booted from, and gone with their server."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.wishes import Noun
from ostro.store.inventories import count_wrong_sums
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"
VOLUMES = "/volume/v3/volumes"
NEW = {"OpenStack-API-Version": "compute 2.89"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host, an image and a flavor."""
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}
    await cloud.as_admin.post(f"{COMPUTE}/flavors", {"flavor": flavor})
    return host


async def boot(client: ApiClient, **more: Any) -> Answer:
    body = {"name": "s", "flavorRef": "f", "networks": "none", **more}
    return await client.post(f"{COMPUTE}/servers", {"server": body}, headers=NEW)


async def active(cloud: TestCloud, host: SimHost, client: ApiClient, **more: Any) -> str:
    """The id of a server that runs."""
    answer = await boot(client, **{"imageRef": IMAGE_ID, **more})
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    server_id = str(answer.json["server"]["id"])
    assert (await show(client, server_id))["status"] == "ACTIVE"
    return server_id


async def show(client: ApiClient, server_id: str) -> dict[str, Any]:
    shown = await client.get(f"{COMPUTE}/servers/{server_id}", headers=NEW)
    assert shown.status == 200, shown.body
    return dict(shown.json["server"])


async def available(cloud: TestCloud, host: SimHost, client: ApiClient, **more: Any) -> str:
    """The id of a volume that is available."""
    answer = await client.post(VOLUMES, {"volume": {"size": 1, **more}})
    await converge(cloud, host)
    return str(answer.json["volume"]["id"])


async def status_of(client: ApiClient, volume_id: str) -> str:
    """The volume's status, or ``gone``."""
    answer = await client.get(f"{VOLUMES}/{volume_id}")
    return "gone" if answer.status == 404 else str(answer.json["volume"]["status"])


class Pair:
    """A running server and an available volume of one project."""

    def __init__(self, cloud: TestCloud, host: SimHost, client: ApiClient, server_id: str, volume_id: str) -> None:
        self.cloud, self.host, self.client = cloud, host, client
        self.server_id, self.volume_id = server_id, volume_id
        self.path = f"{COMPUTE}/servers/{server_id}/os-volume_attachments"

    async def attach(self, **more: Any) -> Answer:
        body = {"volumeAttachment": {"volumeId": self.volume_id, **more}}
        return await self.client.post(self.path, body, headers=NEW)

    async def detach(self) -> Answer:
        return await self.client.delete(f"{self.path}/{self.volume_id}", headers=NEW)

    async def listed(self) -> list[dict[str, Any]]:
        return list((await self.client.get(self.path, headers=NEW)).json["volumeAttachments"])

    async def volume(self) -> str:
        return await status_of(self.client, self.volume_id)

    async def settle(self) -> None:
        await converge(self.cloud, self.host)

    def plugged(self) -> list[str]:
        """What the host has plugged in."""
        return [a["volume_id"] for a in self.host.things[Noun.SERVER, self.server_id]["attachments"]]


@pytest.fixture
async def pair(cloud: TestCloud, host: SimHost) -> Pair:
    client = await cloud.add_user("ann", "blue")
    return Pair(cloud, host, client, await active(cloud, host, client), await available(cloud, host, client))


async def test_attach_list_show_detach(pair: Pair) -> None:
    answer = await pair.attach()
    assert answer.status == 200, answer.body
    made = answer.json["volumeAttachment"]
    assert (made["volumeId"], made["serverId"], made["device"]) == (pair.volume_id, pair.server_id, "/dev/vdb")
    assert await pair.volume() == "attaching"
    await pair.settle()
    assert await pair.volume() == "in-use"
    assert pair.plugged() == [pair.volume_id]
    assert await pair.listed() == [made]
    assert (await pair.client.get(f"{pair.path}/{pair.volume_id}", headers=NEW)).json["volumeAttachment"] == made
    old = (await pair.client.get(pair.path)).json["volumeAttachments"][0]
    assert old == {k: v for k, v in made.items() if k in ("volumeId", "serverId", "device")} | {"id": pair.volume_id}
    shown = (await show(pair.client, pair.server_id))["os-extended-volumes:volumes_attached"]
    assert shown == [{"id": pair.volume_id, "delete_on_termination": False}]
    assert (await pair.detach()).status == 202
    assert await pair.volume() == "detaching"
    await pair.settle()
    assert await pair.volume() == "available"
    assert pair.plugged() == []
    assert await pair.listed() == []


async def test_attached_twice(cloud: TestCloud, host: SimHost, pair: Pair) -> None:
    assert (await pair.attach()).status == 200
    assert (await pair.attach()).status == 400
    await pair.settle()
    again = await pair.attach()
    assert again.status == 400
    assert "in-use" in again.json["badRequest"]["message"]
    other = Pair(cloud, host, pair.client, await active(cloud, host, pair.client), pair.volume_id)
    assert (await other.attach()).status == 400
    assert len(await pair.listed()) == 1


async def test_detached_twice(pair: Pair) -> None:
    assert (await pair.detach()).status == 404
    await pair.attach()
    assert (await pair.detach()).status == 400, "it isn't attached yet"
    await pair.settle()
    assert (await pair.detach()).status == 202
    assert (await pair.detach()).status == 400, "it is being detached"
    await pair.settle()
    assert (await pair.detach()).status == 404


async def test_devices(cloud: TestCloud, host: SimHost, pair: Pair) -> None:
    assert (await pair.attach(device="/dev/vdc")).json["volumeAttachment"]["device"] == "/dev/vdc"
    client = pair.client
    second = Pair(cloud, host, client, pair.server_id, await available(cloud, host, client))
    assert (await second.attach(device="/dev/vdc")).status == 409
    assert (await second.attach(device="/dev/sda1")).status == 400
    assert (await second.attach(device="nonsense")).status == 400
    assert (await second.attach()).json["volumeAttachment"]["device"] == "/dev/vdb"


async def test_another_tenant(cloud: TestCloud, host: SimHost, pair: Pair) -> None:
    eve = await cloud.add_user("eve", "red")
    hers = Pair(cloud, host, eve, await active(cloud, host, eve), await available(cloud, host, eve))
    stolen = Pair(cloud, host, eve, hers.server_id, pair.volume_id)
    assert (await stolen.attach()).status == 404
    into = Pair(cloud, host, eve, pair.server_id, hers.volume_id)
    assert (await into.attach()).status == 404
    await pair.attach()
    await pair.settle()
    assert (await into.client.get(into.path, headers=NEW)).status == 404
    assert (await Pair(cloud, host, eve, pair.server_id, pair.volume_id).detach()).status == 404
    assert await pair.volume() == "in-use"


async def test_another_tenants_attachment_by_hand_is_not_plugged_in(
    cloud: TestCloud, host: SimHost, pair: Pair
) -> None:
    eve = await cloud.add_user("eve", "evil")
    first, second = await available(cloud, host, eve), await available(cloud, host, eve)
    by_hand = {"os-attach": {"instance_uuid": pair.server_id, "mountpoint": "/dev/vdb"}}
    assert (await eve.post(f"{VOLUMES}/{first}/action", by_hand)).status == 202
    body = {"attachment": {"volume_uuid": second, "instance_uuid": pair.server_id}}
    headers = {"OpenStack-API-Version": "volume 3.70"}
    assert (await eve.post("/volume/v3/attachments", body, headers=headers)).status == 200
    path = f"{COMPUTE}/servers/{pair.server_id}/metadata"
    assert (await pair.client.post(path, {"metadata": {"a": "b"}})).status == 200
    await converge(cloud, host)
    assert host.things[Noun.SERVER, pair.server_id]["attachments"] == []


async def test_what_compute_plugged_in_only_compute_pulls_out(cloud: TestCloud, host: SimHost, pair: Pair) -> None:
    assert (await pair.attach()).status == 200
    await converge(cloud, host)
    headers = {"OpenStack-API-Version": "volume 3.70"}
    attachments = "/volume/v3/attachments"
    [attachment] = (await pair.client.get(attachments, headers=headers)).json["attachments"]
    actions: list[dict[str, Any]] = [{"os-detach": {}}, {"os-begin_detaching": None}]
    for action in actions:
        assert (await pair.client.post(f"{VOLUMES}/{pair.volume_id}/action", action)).status == 409
    assert (await pair.client.delete(f"{attachments}/{attachment['id']}", headers=headers)).status == 409
    assert await status_of(pair.client, pair.volume_id) == "in-use"


async def test_a_volume_in_use_stays(pair: Pair) -> None:
    await pair.attach()
    await pair.settle()
    assert (await pair.client.delete(f"{VOLUMES}/{pair.volume_id}")).status == 400
    await pair.client.delete(f"{COMPUTE}/servers/{pair.server_id}")
    await pair.settle()
    assert await pair.volume() == "available"


async def test_while_the_agent_is_down(pair: Pair) -> None:
    await pair.attach()
    assert await pair.volume() == "attaching"
    pair.host.restart()
    await pair.host.register()
    await pair.settle()
    assert await pair.volume() == "in-use"
    await pair.detach()
    assert await pair.volume() == "detaching"
    assert pair.plugged() == [pair.volume_id]
    pair.host.restart()
    await pair.host.register()
    await pair.settle()
    assert await pair.volume() == "available"


async def test_an_attachment_that_the_host_gives_up_on_is_taken_back(pair: Pair) -> None:
    pair.host.failing[pair.server_id] = "No slot is free."
    await pair.attach()
    await pair.host.sync()
    pair.host.failing.clear()
    await pair.settle()
    assert await pair.volume() == "available"
    assert await pair.listed() == []
    assert (await show(pair.client, pair.server_id))["status"] == "ACTIVE"


async def test_states_that_forbid_it(pair: Pair) -> None:
    server = f"{COMPUTE}/servers/{pair.server_id}/action"
    await pair.client.post(server, {"lock": None})
    assert (await pair.attach()).status == 409
    await pair.client.post(server, {"unlock": None})
    await pair.client.post(server, {"os-stop": None})
    assert (await pair.attach()).status == 409, "a task is under way"
    await pair.settle()
    assert (await pair.attach()).status == 200, "it is off"
    await pair.settle()
    assert await pair.volume() == "in-use"


# ---- gone with the server ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goes", [True, False])
async def test_delete_on_termination(pair: Pair, goes: bool) -> None:
    await pair.attach(delete_on_termination=goes)
    await pair.settle()
    await pair.client.delete(f"{COMPUTE}/servers/{pair.server_id}")
    assert await pair.volume() == "in-use", "the host still has it"
    await pair.settle()
    assert await pair.volume() == ("gone" if goes else "available")
    assert ((Noun.VOLUME, pair.volume_id) in pair.host.things) is not goes


async def test_delete_on_termination_can_be_changed(pair: Pair) -> None:
    await pair.attach()
    await pair.settle()
    body = {"volumeAttachment": {"volumeId": pair.volume_id, "delete_on_termination": True}}
    assert (await pair.client.put(f"{pair.path}/{pair.volume_id}", body, headers=NEW)).status == 202
    assert (await pair.listed())[0]["delete_on_termination"] is True
    await pair.client.delete(f"{COMPUTE}/servers/{pair.server_id}")
    await pair.settle()
    assert await pair.volume() == "gone"


# ---- boot ----------------------------------------------------------------------------------------------------------


def mapping(source: str, destination: str | None = "volume", **more: Any) -> dict[str, Any]:
    item = {"source_type": source, "boot_index": 0, **more}
    return {**item, "destination_type": destination} if destination else item


async def attached_to(client: ApiClient, server_id: str) -> list[str]:
    shown = await show(client, server_id)
    return [volume["id"] for volume in shown["os-extended-volumes:volumes_attached"]]


async def test_boot_from_an_image_on_a_new_volume(cloud: TestCloud, host: SimHost) -> None:
    client = await cloud.add_user("ann", "blue")
    root = mapping("image", uuid=IMAGE_ID, volume_size=3, delete_on_termination=True)
    answer = await boot(client, block_device_mapping_v2=[root])
    assert answer.status == 202, answer.body
    server_id = answer.json["server"]["id"]
    (volume_id,) = await attached_to(client, server_id)
    assert await status_of(client, volume_id) == "creating"
    await converge(cloud, host)
    shown = await show(client, server_id)
    assert (shown["status"], shown["image"]) == ("ACTIVE", "")
    volume = (await client.get(f"{VOLUMES}/{volume_id}")).json["volume"]
    assert (volume["status"], volume["size"], volume["bootable"]) == ("in-use", 3, "true")
    wish = host.things[Noun.SERVER, server_id]
    assert (wish["root_volume_id"], wish["image_id"], wish["disk_gb"]) == (volume_id, "", 0)
    refused = await client.delete(f"{COMPUTE}/servers/{server_id}/os-volume_attachments/{volume_id}")
    assert refused.status == 403, "it is the root"
    await client.delete(f"{COMPUTE}/servers/{server_id}")
    await converge(cloud, host)
    assert await status_of(client, volume_id) == "gone"
    assert await cloud.db.read(count_wrong_sums) == 0
    assert [noun for noun, _ in host.things if noun in (Noun.SERVER, Noun.VOLUME, Noun.IMAGE)] == []


async def test_boot_from_a_volume(cloud: TestCloud, host: SimHost) -> None:
    client = await cloud.add_user("ann", "blue")
    volume_id = await available(cloud, host, client, imageRef=IMAGE_ID)
    root = mapping("volume", uuid=volume_id)
    server_id = await active(cloud, host, client, imageRef="", block_device_mapping_v2=[root])
    assert host.things[Noun.SERVER, server_id]["root_volume_id"] == volume_id
    assert await status_of(client, volume_id) == "in-use"
    await client.delete(f"{COMPUTE}/servers/{server_id}")
    await converge(cloud, host)
    assert await status_of(client, volume_id) == "available"


async def test_boot_with_blank_and_other_volumes(cloud: TestCloud, host: SimHost) -> None:
    client = await cloud.add_user("ann", "blue")
    volume_id = await available(cloud, host, client)
    more = [
        mapping("image", "local", uuid=IMAGE_ID),
        mapping("blank", boot_index=-1, volume_size="2", delete_on_termination=True),
        mapping("volume", uuid=volume_id, boot_index=None),
    ]
    server_id = await active(cloud, host, client, block_device_mapping_v2=more)
    blank, given = await attached_to(client, server_id)
    assert given == volume_id
    wish = host.things[Noun.SERVER, server_id]
    assert [a["volume_id"] for a in wish["attachments"]] == [blank, given]
    assert (wish["image_id"], wish["root_volume_id"]) == (IMAGE_ID, "")
    await client.delete(f"{COMPUTE}/servers/{server_id}")
    await converge(cloud, host)
    assert (await status_of(client, blank), await status_of(client, given)) == ("gone", "available")


async def test_device_names_that_do_not_fit_are_hints(cloud: TestCloud, host: SimHost) -> None:
    client = await cloud.add_user("ann", "blue")
    items = []
    for name in ("vdc", "vda", "/dev/sda", "hdz", "vdc"):
        volume_id = await available(cloud, host, client)
        items.append(mapping("volume", uuid=volume_id, device_name=name, boot_index=-1))
    disk = mapping("image", "local", uuid=IMAGE_ID, boot_index=0)
    server_id = await active(cloud, host, client, block_device_mapping_v2=[disk, *items])
    plugged = host.things[Noun.SERVER, server_id]["attachments"]
    assert sorted(a["device"] for a in plugged) == ["vdb", "vdc", "vdd", "vde", "vdf"]


async def test_several_servers_get_a_volume_each(cloud: TestCloud, host: SimHost) -> None:
    root = mapping("image", uuid=IMAGE_ID, volume_size=1)
    answer = await boot(cloud.as_admin, block_device_mapping_v2=[root], min_count=3)
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    volumes = (await cloud.as_admin.get(f"{VOLUMES}/detail")).json["volumes"]
    assert [v["status"] for v in volumes] == ["in-use"] * 3
    assert len({v["attachments"][0]["server_id"] for v in volumes}) == 3
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_without_room_for_the_volume_there_is_no_host(cloud: TestCloud, host: SimHost) -> None:
    root = mapping("image", uuid=IMAGE_ID, volume_size=1000)
    answer = await boot(cloud.as_admin, block_device_mapping_v2=[root])
    assert answer.status == 202
    shown = await show(cloud.as_admin, answer.json["server"]["id"])
    assert shown["status"] == "ERROR"
    assert "No valid host" in shown["fault"]["message"]
    assert (await cloud.as_admin.get(VOLUMES)).json["volumes"] == []


async def test_a_root_volume_that_cannot_be_made_is_the_servers_fault(cloud: TestCloud, host: SimHost) -> None:
    client = await cloud.add_user("ann", "blue")
    root = mapping("image", uuid=IMAGE_ID, volume_size=1, delete_on_termination=True)
    server_id = (await boot(client, block_device_mapping_v2=[root])).json["server"]["id"]
    (volume_id,) = await attached_to(client, server_id)
    host.failing[volume_id] = "The image is damaged."
    host.held.add(Noun.SERVER)
    await converge(cloud, host)
    shown = await show(client, server_id)
    assert shown["status"] == "ERROR"
    assert "The image is damaged." in shown["fault"]["message"]
    host.held.clear()
    host.failing.clear()
    await client.delete(f"{COMPUTE}/servers/{server_id}")
    await converge(cloud, host)
    assert await status_of(client, volume_id) == "gone"
    assert await cloud.db.read(count_wrong_sums) == 0


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([mapping("image", uuid=IMAGE_ID)], "non-zero size"),
        ([mapping("blank")], "non-zero size"),
        ([mapping("image", uuid=IMAGE_ID, volume_size="x")], "not a number"),
        ([mapping("blank", "local", boot_index=-1)], "not supported"),
        ([mapping("volume", "local", uuid=IMAGE_ID)], "Mapping volume to local"),
        ([mapping("image", "local", uuid=IMAGE_ID, boot_index=1)], "Mapping image to local"),
        ([mapping("snapshot", uuid=IMAGE_ID)], "failed to get snapshot"),
        ([mapping("volume", uuid=IMAGE_ID)], "failed to get volume"),
        ([mapping("image", uuid=IMAGE_ID[:-1] + "2", volume_size=1)], "image"),
        ([mapping("image", uuid=IMAGE_ID, volume_size=1), mapping("blank", volume_size=1)], "Boot sequence"),
        ([mapping("blank", boot_index=-1, volume_size=1)], "Boot sequence"),
        ([mapping("image", uuid=IMAGE_ID, volume_size=1, boot_index=1)], "Boot sequence"),
    ],
)
async def test_mappings_that_are_refused(cloud: TestCloud, host: SimHost, items: list[Any], words: str) -> None:
    answer = await boot(cloud.as_admin, block_device_mapping_v2=items)
    assert answer.status == 400, answer.body
    assert words in answer.json["badRequest"]["message"]
    assert (await cloud.as_admin.get(VOLUMES)).json["volumes"] == []
