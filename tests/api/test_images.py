"""Image records over HTTP: create, list, show, change, delete."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import ApiClient, TestCloud

IMAGES = "/image/v2/images"
PATCH_TYPE = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OCTETS = {"Content-Type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}


async def make(client: ApiClient, **more: Any) -> dict[str, Any]:
    answer = await client.post(IMAGES, {"name": "one", **RAW, **more})
    assert answer.status == 201, answer.body
    image: dict[str, Any] = answer.json
    return image


async def test_versions(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.get("/image/")
    assert answer.status == 300
    assert answer.json["versions"][0]["links"][0]["href"].endswith("/image/v2/")
    assert (await cloud.anonymous.get("/image/versions")).status == 200


async def test_create_shows_every_attribute(cloud: TestCloud) -> None:
    answer = await cloud.as_admin.post(
        IMAGES, {"name": "one", "hw_disk_bus": "virtio", "tags": ["b", "a", "b"], "min_disk": 1, "visibility": "public"}
    )
    image = answer.json
    assert answer.headers["Location"].endswith(f"/image/v2/images/{image['id']}")
    assert (image["status"], image["size"], image["checksum"], image["os_hash_algo"]) == ("queued", None, None, None)
    assert (image["tags"], image["hw_disk_bus"], image["min_disk"]) == (["a", "b"], "virtio", 1)
    assert image["file"] == f"/v2/images/{image['id']}/file"
    assert image["schema"] == "/v2/schemas/image"
    assert image["disk_format"] is None


async def test_the_id_can_be_given_once(cloud: TestCloud) -> None:
    id_ = "01234567-89ab-cdef-0123-456789abcdef"
    assert (await make(cloud.as_admin, id=id_))["id"] == id_
    answer = await cloud.as_admin.post(IMAGES, {"id": id_})
    assert answer.status == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"disk_format": "floppy"}, 400),
        ({"min_ram": -1}, 400),
        ({"custom": 5}, 400),
        ({"status": "active"}, 403),
        ({"locations": "x"}, 403),
        ({"id": "no-uuid"}, 400),
        ({"name": "x" * 256}, 400),
    ],
)
async def test_what_create_refuses(cloud: TestCloud, body: dict[str, Any], status: int) -> None:
    answer = await cloud.as_admin.post(IMAGES, body)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_only_administrators_publish(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "red")
    assert (await alice.post(IMAGES, {"visibility": "public"})).status == 403
    image = await make(alice)
    patch = [{"op": "replace", "path": "/visibility", "value": "public"}]
    assert (await alice.patch(f"{IMAGES}/{image['id']}", patch, headers=PATCH_TYPE)).status == 403
    assert (await cloud.as_admin.patch(f"{IMAGES}/{image['id']}", patch, headers=PATCH_TYPE)).status == 200


async def names(client: ApiClient, query: str = "") -> list[str]:
    answer = await client.get(f"{IMAGES}{query}")
    assert answer.status == 200, answer.body
    return sorted(image["name"] for image in answer.json["images"])


async def test_who_sees_what(cloud: TestCloud) -> None:
    red, blue = await cloud.add_user("alice", "red"), await cloud.add_user("bob", "blue")
    made = {v: await make(red, name=v, visibility=v) for v in ("private", "shared", "community")}
    made["public"] = await make(cloud.as_admin, name="public", visibility="public")
    assert await names(red) == ["community", "private", "public", "shared"]
    assert await names(blue) == ["public"]
    assert await names(blue, "?visibility=community") == ["community"]
    assert await names(blue, "?visibility=all") == ["community", "public"]
    assert await names(cloud.as_admin) == ["private", "public", "shared"]
    for name, status in {"private": 404, "shared": 404, "community": 200, "public": 200}.items():
        path = f"{IMAGES}/{made[name]['id']}"
        assert (await blue.get(path)).status == status, name
        assert (await blue.delete(path)).status == (403 if status == 200 else 404), name


async def test_hidden_images_are_listed_on_demand(cloud: TestCloud) -> None:
    await make(cloud.as_admin, name="hidden", os_hidden=True)
    assert await names(cloud.as_admin) == []
    assert await names(cloud.as_admin, "?os_hidden=true") == ["hidden"]


async def test_filters(cloud: TestCloud) -> None:
    await make(cloud.as_admin, name="a", tags=["x", "y"], color="red")
    await make(cloud.as_admin, name="b", tags=["x"], color="blue", min_ram=64)
    await make(cloud.as_admin, name="c, d", protected=True, disk_format="qcow2")
    for query, wanted in {
        "?tag=x": ["a", "b"],
        "?tag=x&tag=y": ["a"],
        "?color=blue": ["b"],
        "?name=a": ["a"],
        '?name=in:a,"c, d"': ["a", "c, d"],
        "?protected=true": ["c, d"],
        "?disk_format=qcow2": ["c, d"],
        "?min_ram=64": ["b"],
        "?status=active": [],
        "?created_at=gt:2020-01-01T00:00:00Z": ["a", "b", "c, d"],
        "?created_at=lt:2020-01-01T00:00:00Z": [],
    }.items():
        assert await names(cloud.as_admin, query) == wanted, query
    assert (await cloud.as_admin.get(f"{IMAGES}?created_at=gt:never")).status == 400
    assert (await cloud.as_admin.get(f"{IMAGES}?visibility=odd")).status == 400


async def test_pages(cloud: TestCloud) -> None:
    for name in "abc":
        await make(cloud.as_admin, name=name)
    first = (await cloud.as_admin.get(f"{IMAGES}?limit=2&sort=name:asc")).json
    assert [i["name"] for i in first["images"]] == ["a", "b"]
    assert first["first"] == "/v2/images?limit=2&sort=name%3Aasc"
    second = (await cloud.as_admin.get("/image" + first["next"])).json
    assert [i["name"] for i in second["images"]] == ["c"]
    assert "next" not in second
    newest = (await cloud.as_admin.get(f"{IMAGES}?limit=1")).json
    assert newest["images"][0]["name"] == "c"
    assert (await cloud.as_admin.get(f"{IMAGES}?marker=nothing")).status == 400
    assert (await cloud.as_admin.get(f"{IMAGES}?sort_key=nothing")).status == 400


async def patched(cloud: TestCloud, image_id: str, *steps: dict[str, Any]) -> tuple[int, Any]:
    answer = await cloud.as_admin.patch(f"{IMAGES}/{image_id}", list(steps), headers=PATCH_TYPE)
    return answer.status, answer.json if answer.status == 200 else answer.body


async def test_patch(cloud: TestCloud) -> None:
    image = await make(cloud.as_admin, color="red")
    status, shown = await patched(
        cloud,
        image["id"],
        {"op": "replace", "path": "/name", "value": "two"},
        {"op": "add", "path": "/a~1b", "value": "slash"},
        {"op": "remove", "path": "/color"},
        {"op": "replace", "path": "/tags", "value": ["z"]},
        {"op": "replace", "path": "/os_hidden", "value": True},
    )
    assert status == 200
    assert (shown["name"], shown["a/b"], shown["tags"], shown["os_hidden"]) == ("two", "slash", ["z"], True)
    assert "color" not in shown
    assert await names(cloud.as_admin, "?color=red&os_hidden=true") == []
    assert await names(cloud.as_admin, "?tag=z&os_hidden=true") == ["two"]


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "replace", "path": "/id", "value": "x"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/nothing", "value": "x"}, 409),
        ({"op": "remove", "path": "/nothing"}, 409),
        ({"op": "replace", "path": "/min_ram", "value": "many"}, 400),
        ({"op": "replace", "path": "/name"}, 400),
        ({"op": "move", "path": "/name", "value": "x"}, 400),
        ({"op": "replace", "path": "/a/b", "value": "x"}, 400),
    ],
)
async def test_what_patch_refuses(cloud: TestCloud, step: dict[str, Any], status: int) -> None:
    image = await make(cloud.as_admin)
    assert (await patched(cloud, image["id"], step))[0] == status


async def test_patch_wants_its_media_type(cloud: TestCloud) -> None:
    image = await make(cloud.as_admin)
    answer = await cloud.as_admin.patch(f"{IMAGES}/{image['id']}", [], headers={"Content-Type": "text/plain"})
    assert answer.status == 415


async def test_tags(cloud: TestCloud) -> None:
    path = f"{IMAGES}/{(await make(cloud.as_admin))['id']}"
    assert (await cloud.as_admin.put(f"{path}/tags/new tag")).status == 204
    assert (await cloud.as_admin.put(f"{path}/tags/new tag")).status == 204
    assert (await cloud.as_admin.get(path)).json["tags"] == ["new tag"]
    assert (await cloud.as_admin.put(f"{path}/tags/{'x' * 256}")).status == 400
    assert (await cloud.as_admin.delete(f"{path}/tags/new tag")).status == 204
    assert (await cloud.as_admin.delete(f"{path}/tags/new tag")).status == 404


async def test_members(cloud: TestCloud) -> None:
    red, blue = await cloud.add_user("alice", "red"), await cloud.add_user("bob", "blue")
    image = await make(red, name="shared")
    path = f"{IMAGES}/{image['id']}"
    blue_id = (await make(blue, name="own"))["owner"]
    added = await red.post(f"{path}/members", {"member": blue_id})
    assert (added.status, added.json["status"], added.json["schema"]) == (200, "pending", "/v2/schemas/member")
    assert (await red.post(f"{path}/members", {"member": blue_id})).status == 409
    assert await names(blue) == ["own"]
    assert await names(blue, "?member_status=pending") == ["own", "shared"]
    assert (await blue.get(path)).status == 200
    assert (await red.put(f"{path}/members/{blue_id}", {"status": "accepted"})).status == 403
    assert (await blue.put(f"{path}/members/{blue_id}", {"status": "accepted"})).json["status"] == "accepted"
    assert await names(blue) == ["own", "shared"]
    assert [m["member_id"] for m in (await blue.get(f"{path}/members")).json["members"]] == [blue_id]
    assert (await blue.delete(f"{path}/members/{blue_id}")).status == 403
    assert (await red.delete(f"{path}/members/{blue_id}")).status == 204
    assert (await blue.get(path)).status == 404


async def test_only_shared_images_have_members(cloud: TestCloud) -> None:
    image = await make(cloud.as_admin, visibility="private")
    assert (await cloud.as_admin.post(f"{IMAGES}/{image['id']}/members", {"member": "x"})).status == 403


async def test_delete(cloud: TestCloud) -> None:
    image = await make(cloud.as_admin, protected=True)
    path = f"{IMAGES}/{image['id']}"
    assert (await cloud.as_admin.delete(path)).status == 403
    await patched(cloud, image["id"], {"op": "replace", "path": "/protected", "value": False})
    assert (await cloud.as_admin.delete(path)).status == 204
    assert (await cloud.as_admin.get(path)).status == 404
    assert (await cloud.as_admin.delete(path)).status == 404
    # Its id is free again.
    assert (await make(cloud.as_admin, id=image["id"]))["id"] == image["id"]


async def test_schemas_and_info(cloud: TestCloud) -> None:
    for name in ("image", "images", "member", "members"):
        assert (await cloud.as_admin.get(f"/image/v2/schemas/{name}")).json["name"] == name
    assert (await cloud.as_admin.get("/image/v2/info/import")).json["import-methods"]["value"] == []
    assert (await cloud.as_admin.get("/image/v2/info/stores")).json["stores"][0]["default"] == "true"


OLD_PATCH_TYPE = {"Content-Type": "application/openstack-images-v2.0-json-patch"}


async def test_the_older_patches_are_taken_in_their_own_form_only(cloud: TestCloud) -> None:
    image = await make(cloud.as_admin, color="red", shape="round")
    path = f"{IMAGES}/{image['id']}"
    steps: list[dict[str, Any]] = [
        {"replace": "/name", "value": "two"},
        {"add": "/size_", "value": "s"},
        {"remove": "/color"},
    ]
    changed = (await cloud.as_admin.patch(path, steps, headers=OLD_PATCH_TYPE)).json
    assert (changed["name"], changed["size_"], "color" in changed, changed["shape"]) == ("two", "s", False, "round")
    newer = [{"op": "replace", "path": "/name", "value": "three"}]
    assert (await cloud.as_admin.patch(path, newer, headers=OLD_PATCH_TYPE)).status == 400
    assert (await cloud.as_admin.patch(path, steps[:1], headers=PATCH_TYPE)).status == 400
    both = [{"replace": "/name", "add": "/name", "value": "x"}]
    assert (await cloud.as_admin.patch(path, both, headers=OLD_PATCH_TYPE)).status == 400
    assert (await cloud.as_admin.patch(path, newer)).status == 415


async def test_properties_of_the_service_itself_are_reserved(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.post(IMAGES, {"os_glance_x": "y"})).status == 403
    image = await make(cloud.as_admin)
    step = [{"op": "add", "path": "/os_glance_x", "value": "y"}]
    assert (await cloud.as_admin.patch(f"{IMAGES}/{image['id']}", step, headers=PATCH_TYPE)).status == 403


async def test_an_empty_id_is_no_image(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.get(f"{IMAGES}/")).status == 404
    assert (await cloud.as_admin.delete(f"{IMAGES}/")).status == 404


async def test_sizes_unknown_are_not_small_and_sorting_has_one_syntax(cloud: TestCloud) -> None:
    await make(cloud.as_admin)
    assert (await cloud.as_admin.get(f"{IMAGES}?size_max=5")).json["images"] == []
    await make(cloud.as_admin, name="two")
    by_age = (await cloud.as_admin.get(f"{IMAGES}?sort_dir=asc")).json["images"]
    assert [i["name"] for i in by_age] == ["one", "two"]
    for query in ("sort_dir=up", "sort=name:up", "sort=name&sort_key=name", "sort=name&sort_dir=asc"):
        assert (await cloud.as_admin.get(f"{IMAGES}?{query}")).status == 400, query
