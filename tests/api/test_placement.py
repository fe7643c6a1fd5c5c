"""Placement over HTTP: the shapes, codes and generations that its clients rely on."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.errors import NoCapacity
from ostro.services.placement.claims import Owner, claim_host
from ostro.services.placement.engine import HostRequest
from ostro.store.database import Tx
from ostro.store.hosts import list_host_ids
from ostro.store.inventories import count_wrong_sums, take
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import add_host

ROOT = "/placement"
A = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
B = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
C = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
CONSUMER = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
OTHER = "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee"
AGGREGATE = "ffffffff-ffff-4fff-8fff-ffffffffffff"


def at(client: ApiClient, version: str = "1.39") -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"placement {version}")


@pytest.fixture
async def admin(cloud: TestCloud) -> ApiClient:
    return at(cloud.as_admin)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["errors"][0]["code"]


async def provider(client: ApiClient, id_: str, parent: str | None = None, **totals: int) -> None:
    body: dict[str, Any] = {"name": f"p-{id_[0]}", "uuid": id_, "parent_provider_uuid": parent}
    answer = await client.post(f"{ROOT}/resource_providers", body)
    assert answer.status == 200, answer.body
    if totals:
        inventories = {name: {"total": total} for name, total in totals.items()}
        body = {"resource_provider_generation": 0, "inventories": inventories}
        answer = await client.put(f"{ROOT}/resource_providers/{id_}/inventories", body)
        assert answer.status == 200, answer.body


def claim(generation: int | None = None, **amounts: dict[str, int]) -> dict[str, Any]:
    ids = {"A": A, "B": B, "C": C}
    return {
        "allocations": {ids[name]: {"resources": resources} for name, resources in amounts.items()},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": generation,
        "consumer_type": "INSTANCE",
    }


async def test_providers_and_their_codes(admin: ApiClient) -> None:
    await provider(admin, A)
    answer = await admin.post(f"{ROOT}/resource_providers", {"name": "p-a"})
    assert code(answer) == (409, "placement.duplicate_name")
    shown = (await admin.get(f"{ROOT}/resource_providers/{A}")).json
    assert (shown["generation"], shown["parent_provider_uuid"], shown["root_provider_uuid"]) == (0, None, A)
    rels = {link["rel"] for link in shown["links"]}
    assert rels == {"self", "inventories", "usages", "aggregates", "traits", "allocations"}
    assert code(await admin.get(f"{ROOT}/resource_providers/{B}")) == (404, "placement.resource_provider.not_found")
    await provider(admin, B, parent=A)
    answer = await admin.delete(f"{ROOT}/resource_providers/{A}")
    assert code(answer) == (409, "placement.resource_provider.cannot_delete_parent")
    tree = (await admin.get(f"{ROOT}/resource_providers?in_tree={B}")).json["resource_providers"]
    assert {p["uuid"] for p in tree} == {A, B}
    assert (await admin.put(f"{ROOT}/resource_providers/{A}", {"name": "x", "parent_provider_uuid": B})).status == 400
    moved = await admin.put(f"{ROOT}/resource_providers/{B}", {"name": "y", "parent_provider_uuid": None})
    assert (moved.json["root_provider_uuid"], moved.json["name"]) == (B, "y")
    assert (await admin.delete(f"{ROOT}/resource_providers/{A}")).status == 204
    assert (await admin.get(f"{ROOT}/resource_providers?bogus=1")).status == 400


async def test_before_1_20_creation_has_no_body(cloud: TestCloud) -> None:
    answer = await at(cloud.as_admin, "1.0").post(f"{ROOT}/resource_providers", {"name": "x", "uuid": A})
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["Location"].endswith(f"{ROOT}/resource_providers/{A}")
    shown = (await at(cloud.as_admin, "1.0").get(f"{ROOT}/resource_providers/{A}")).json
    assert {link["rel"] for link in shown["links"]} == {"self", "inventories", "usages"}
    assert "root_provider_uuid" not in shown


async def test_inventories_and_generations(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4)
    path = f"{ROOT}/resource_providers/{A}/inventories"
    shown = (await admin.get(path)).json
    assert shown["resource_provider_generation"] == 1
    assert shown["inventories"]["VCPU"] == {
        "total": 4,
        "reserved": 0,
        "min_unit": 1,
        "max_unit": 2147483647,
        "step_size": 1,
        "allocation_ratio": 1.0,
    }
    stale = {"resource_provider_generation": 0, "inventories": {}}
    assert code(await admin.put(path, stale)) == (409, "placement.concurrent_update")
    added = await admin.post(path, {"resource_class": "DISK_GB", "total": 10})
    assert (added.status, added.json["resource_provider_generation"]) == (201, 2)
    assert (await admin.post(path, {"resource_class": "DISK_GB", "total": 10})).status == 409
    changed = await admin.put(f"{path}/DISK_GB", {"resource_provider_generation": 2, "total": 20})
    assert changed.json["total"] == 20
    assert (await admin.put(f"{path}/NOPE", {"resource_provider_generation": 3, "total": 20})).status == 400
    assert (await admin.put(f"{ROOT}/allocations/{CONSUMER}", claim(A={"VCPU": 1}))).status == 204
    assert code(await admin.delete(f"{path}/VCPU")) == (409, "placement.inventory.inuse")
    assert (await admin.delete(f"{path}/DISK_GB")).status == 204
    assert (await admin.get(f"{path}/DISK_GB")).status == 404
    usages = (await admin.get(f"{ROOT}/resource_providers/{A}/usages")).json["usages"]
    assert usages == {"VCPU": 1}


async def test_allocations_replace_conflict_and_delete(cloud: TestCloud, admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4, MEMORY_MB=100)
    await provider(admin, B, VCPU=4)
    path = f"{ROOT}/allocations/{CONSUMER}"
    assert (await admin.get(path)).json == {"allocations": {}}
    assert (await admin.put(path, claim(A={"VCPU": 2, "MEMORY_MB": 60}))).status == 204
    shown = (await admin.get(path)).json
    assert shown["allocations"][A]["resources"] == {"MEMORY_MB": 60, "VCPU": 2}
    assert (shown["consumer_generation"], shown["consumer_type"], shown["project_id"]) == (1, "INSTANCE", "p")
    assert code(await admin.put(path, claim(A={"VCPU": 1}))) == (409, "placement.concurrent_update")
    answer = await admin.put(f"{ROOT}/allocations/{OTHER}", claim(A={"VCPU": 1, "MEMORY_MB": 60}))
    assert answer.status == 409 and "exceed the capacity" in answer.json["errors"][0]["detail"]
    assert (await admin.put(f"{ROOT}/allocations/{OTHER}", claim(C={"VCPU": 1}))).status == 400
    assert (await admin.put(f"{ROOT}/allocations/{OTHER}", claim(A={"NOPE": 1}))).status == 400
    assert (await admin.put(path, claim(1, B={"VCPU": 4}))).status == 204
    used = (await admin.get(f"{ROOT}/resource_providers/{A}/usages")).json["usages"]
    assert used == {"MEMORY_MB": 0, "VCPU": 0}
    by_provider = (await admin.get(f"{ROOT}/resource_providers/{B}/allocations")).json["allocations"]
    assert by_provider == {CONSUMER: {"resources": {"VCPU": 4}, "consumer_generation": 2}}
    assert code(await admin.delete(f"{ROOT}/resource_providers/{B}")) == (409, "placement.resource_provider.inuse")
    usages = (await admin.get(f"{ROOT}/usages?project_id=p")).json["usages"]
    assert usages == {"INSTANCE": {"consumer_count": 1, "VCPU": 4}}
    assert (await at(admin, "1.9").get(f"{ROOT}/usages?project_id=p&user_id=u")).json["usages"] == {"VCPU": 4}
    assert (await admin.delete(path)).status == 204
    assert (await admin.delete(path)).status == 404
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_post_allocations_moves_between_consumers(cloud: TestCloud, admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4)
    assert (await admin.put(f"{ROOT}/allocations/{CONSUMER}", claim(A={"VCPU": 4}))).status == 204
    body = {CONSUMER: {**claim(1), "allocations": {}}, OTHER: claim(A={"VCPU": 4})}
    assert (await admin.post(f"{ROOT}/allocations", body)).status == 204
    assert (await admin.get(f"{ROOT}/allocations/{CONSUMER}")).json == {"allocations": {}}
    assert (await admin.get(f"{ROOT}/allocations/{OTHER}")).json["allocations"][A]["resources"] == {"VCPU": 4}
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_older_forms_of_allocations(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4)
    old = {"allocations": [{"resource_provider": {"uuid": A}, "resources": {"VCPU": 1}}]}
    assert (await at(admin, "1.0").put(f"{ROOT}/allocations/{CONSUMER}", old)).status == 204
    assert (await at(admin, "1.8").put(f"{ROOT}/allocations/{CONSUMER}", old)).status == 400
    owned = {**old, "project_id": "p", "user_id": "u"}
    assert (await at(admin, "1.8").put(f"{ROOT}/allocations/{CONSUMER}", owned)).status == 204
    assert "project_id" not in (await at(admin, "1.11").get(f"{ROOT}/allocations/{CONSUMER}")).json


async def test_traits_classes_and_aggregates(admin: ApiClient) -> None:
    await provider(admin, A)
    assert (await admin.put(f"{ROOT}/traits/CUSTOM_X")).status == 201
    assert (await admin.put(f"{ROOT}/traits/CUSTOM_X")).status == 204
    assert (await admin.put(f"{ROOT}/traits/OWN")).status == 400
    assert (await admin.get(f"{ROOT}/traits/HW_CPU_X86_VMX")).status == 204
    assert (await admin.get(f"{ROOT}/traits/CUSTOM_Y")).status == 404
    assert (await admin.get(f"{ROOT}/traits?name=startswith:CUSTOM_")).json["traits"] == ["CUSTOM_X"]
    path = f"{ROOT}/resource_providers/{A}"
    put = await admin.put(f"{path}/traits", {"resource_provider_generation": 0, "traits": ["CUSTOM_X"]})
    assert put.json == {"resource_provider_generation": 1, "traits": ["CUSTOM_X"]}
    assert (await admin.put(f"{path}/traits", {"resource_provider_generation": 1, "traits": ["NOPE"]})).status == 400
    assert (await admin.get(f"{ROOT}/traits?associated=true")).json["traits"] == ["CUSTOM_X"]
    assert (await admin.delete(f"{ROOT}/traits/CUSTOM_X")).status == 409
    assert (await admin.delete(f"{path}/traits")).status == 204
    assert (await admin.delete(f"{ROOT}/traits/CUSTOM_X")).status == 204
    body = {"resource_provider_generation": 2, "aggregates": [AGGREGATE]}
    assert (await admin.put(f"{path}/aggregates", body)).json["aggregates"] == [AGGREGATE]
    found = (await admin.get(f"{ROOT}/resource_providers?member_of=in:{AGGREGATE},{C}")).json["resource_providers"]
    assert [p["uuid"] for p in found] == [A]
    assert (await admin.get(f"{ROOT}/resource_providers?member_of=!{AGGREGATE}")).json["resource_providers"] == []
    assert (await admin.put(f"{ROOT}/resource_classes/CUSTOM_GPU")).status == 201
    assert (await admin.put(f"{ROOT}/resource_classes/CUSTOM_GPU")).status == 204
    assert (await admin.post(f"{ROOT}/resource_classes", {"name": "CUSTOM_GPU"})).status == 409
    assert (await admin.delete(f"{ROOT}/resource_classes/VCPU")).status == 400
    assert (await admin.delete(f"{ROOT}/resource_classes/CUSTOM_GPU")).status == 204


async def candidates(client: ApiClient, query: str) -> set[tuple[tuple[str, tuple[tuple[str, int], ...]], ...]]:
    """The candidates of a query, each as ((provider letter, ((class, amount), ...)), ...)."""
    answer = await client.get(f"{ROOT}/allocation_candidates?{query}")
    assert answer.status == 200, answer.body
    return {
        tuple(sorted((id_[0], tuple(sorted(a["resources"].items()))) for id_, a in c["allocations"].items()))
        for c in answer.json["allocation_requests"]
    }


async def test_flat_candidates(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4, MEMORY_MB=100)
    await provider(admin, B, VCPU=2, MEMORY_MB=100)
    both = {(("a", (("VCPU", 2),)),), (("b", (("VCPU", 2),)),)}
    assert await candidates(admin, "resources=VCPU:2") == both
    assert await candidates(admin, "resources=VCPU:3") == {(("a", (("VCPU", 3),)),)}
    assert await candidates(admin, "resources=VCPU:9") == set()
    assert len(await candidates(admin, "resources=VCPU:1&limit=1")) == 1
    assert len(await candidates(admin, f"resources=VCPU:1&in_tree={B}")) == 1
    await admin.put(f"{ROOT}/allocations/{CONSUMER}", claim(A={"VCPU": 3}))
    assert await candidates(admin, "resources=VCPU:2") == {(("b", (("VCPU", 2),)),)}
    answer = (await admin.get(f"{ROOT}/allocation_candidates?resources=VCPU:1&in_tree={A}")).json
    assert answer["allocation_requests"] == [{"allocations": {A: {"resources": {"VCPU": 1}}}, "mappings": {"": [A]}}]
    assert answer["provider_summaries"][A]["resources"]["VCPU"] == {"capacity": 4, "used": 3}
    old = (await at(admin, "1.10").get(f"{ROOT}/allocation_candidates?resources=VCPU:1")).json
    assert old["allocation_requests"][0]["allocations"][0]["resources"] == {"VCPU": 1}
    for query in ("", "resources=VCPU", "resources=NOPE:1", "resources=VCPU:1&required=NOPE", "resources=VCPU:0"):
        assert (await admin.get(f"{ROOT}/allocation_candidates?{query}")).status == 400, query


async def test_trait_conditions(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4)
    await provider(admin, B, VCPU=4)
    for name in ("CUSTOM_X", "CUSTOM_Y"):
        await admin.put(f"{ROOT}/traits/{name}")
    for id_, name in ((A, "CUSTOM_X"), (B, "CUSTOM_Y")):
        body = {"resource_provider_generation": 1, "traits": [name]}
        assert (await admin.put(f"{ROOT}/resource_providers/{id_}/traits", body)).status == 200
    assert {c[0][0] for c in await candidates(admin, "resources=VCPU:1&required=CUSTOM_X")} == {"a"}
    assert {c[0][0] for c in await candidates(admin, "resources=VCPU:1&required=!CUSTOM_X")} == {"b"}
    assert {c[0][0] for c in await candidates(admin, "resources=VCPU:1&required=in:CUSTOM_X,CUSTOM_Y")} == {"a", "b"}
    assert {c[0][0] for c in await candidates(admin, "resources=VCPU:1&root_required=CUSTOM_Y")} == {"b"}
    query = "resources=VCPU:1&required=CUSTOM_X,!CUSTOM_X"
    assert (await admin.get(f"{ROOT}/allocation_candidates?{query}")).status == 400


async def test_nested_and_granular_candidates(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=8)
    await provider(admin, B, parent=A, SRIOV_NET_VF=4)
    await provider(admin, C, parent=A, SRIOV_NET_VF=4)
    spread = await candidates(admin, "resources=VCPU:1,SRIOV_NET_VF:1")
    assert {tuple(p for p, _ in c) for c in spread} == {("a", "b"), ("a", "c")}
    two = "resources=VCPU:1&resources1=SRIOV_NET_VF:1&resources2=SRIOV_NET_VF:1"
    assert (await admin.get(f"{ROOT}/allocation_candidates?{two}")).status == 400
    isolated = await candidates(admin, two + "&group_policy=isolate")
    assert {tuple(p for p, _ in c) for c in isolated} == {("a", "b", "c")}
    free = await candidates(admin, two + "&group_policy=none")
    assert {tuple(p for p, _ in c) for c in free} == {("a", "b"), ("a", "c"), ("a", "b", "c")}
    apart = two.replace("resources=VCPU", "resources_H=VCPU") + "&group_policy=none"
    assert await candidates(admin, apart + "&same_subtree=1,2")
    assert {tuple(p for p, _ in c) for c in await candidates(admin, apart + "&same_subtree=1,2")} == {
        ("a", "b"),
        ("a", "c"),
    }
    assert await candidates(at(admin, "1.28"), "resources=VCPU:1,SRIOV_NET_VF:1") == set()


async def test_candidates_follow_claims_and_moves_in_trees(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=8)
    await provider(admin, B, parent=A, SRIOV_NET_VF=4)
    await provider(admin, C, parent=B, SRIOV_NET_VF=4)
    query = "resources=VCPU:1&resources_NIC=SRIOV_NET_VF:3"
    in_b = (("a", (("VCPU", 1),)), ("b", (("SRIOV_NET_VF", 3),)))
    in_c = (("a", (("VCPU", 1),)), ("c", (("SRIOV_NET_VF", 3),)))
    assert await candidates(admin, query) == {in_b, in_c}
    assert len(await candidates(admin, query + "&limit=1")) == 1
    taken = claim(B={"SRIOV_NET_VF": 2})
    assert (await admin.put(f"{ROOT}/allocations/{CONSUMER}", taken)).status == 204
    assert await candidates(admin, query) == {in_c}
    moved = {"name": "elsewhere", "parent_provider_uuid": None}
    assert (await admin.put(f"{ROOT}/resource_providers/{C}", moved)).status == 200
    assert await candidates(admin, query) == set()
    assert (await admin.delete(f"{ROOT}/allocations/{CONSUMER}")).status == 204
    assert await candidates(admin, query) == {in_b}
    assert await candidates(admin, "resources_NIC=SRIOV_NET_VF:3") == {in_b[1:], in_c[1:]}
    assert (await admin.delete(f"{ROOT}/resource_providers/{B}")).status == 204
    assert await candidates(admin, query) == set()


async def test_shared_inventory(admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4)
    await provider(admin, B, DISK_GB=100)
    body = {"resource_provider_generation": 1, "traits": ["MISC_SHARES_VIA_AGGREGATE"]}
    assert (await admin.put(f"{ROOT}/resource_providers/{B}/traits", body)).status == 200
    assert await candidates(admin, "resources=VCPU:1,DISK_GB:5") == set()
    for id_, generation in ((A, 1), (B, 2)):
        body = {"resource_provider_generation": generation, "aggregates": [AGGREGATE]}
        assert (await admin.put(f"{ROOT}/resource_providers/{id_}/aggregates", body)).status == 200
    assert await candidates(admin, "resources=VCPU:1,DISK_GB:5") == {(("a", (("VCPU", 1),)), ("b", (("DISK_GB", 5),)))}


async def test_reshaper_moves_inventory_with_its_allocations(cloud: TestCloud, admin: ApiClient) -> None:
    await provider(admin, A, VCPU=4, MEMORY_MB=100)
    await provider(admin, B, parent=A)
    await admin.put(f"{ROOT}/allocations/{CONSUMER}", claim(A={"VCPU": 4, "MEMORY_MB": 10}))
    body = {
        "inventories": {
            A: {"resource_provider_generation": 2, "inventories": {"MEMORY_MB": {"total": 100}}},
            B: {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 4}}},
        },
        "allocations": {CONSUMER: claim(1, A={"MEMORY_MB": 10}, B={"VCPU": 4})},
    }
    assert (await admin.post(f"{ROOT}/reshaper", body)).status == 204
    assert set((await admin.get(f"{ROOT}/resource_providers/{A}/inventories")).json["inventories"]) == {"MEMORY_MB"}
    assert await cloud.db.read(count_wrong_sums) == 0


async def test_only_administrators_and_the_hosts_provider(cloud: TestCloud, admin: ApiClient) -> None:
    member = at(await cloud.add_user("ann", "alpha"))
    assert (await member.get(f"{ROOT}/resource_providers")).status == 403
    host = await add_host(cloud)
    [found] = (await admin.get(f"{ROOT}/resource_providers?name=host-a")).json["resource_providers"]
    assert found["uuid"] == host.host_id
    inventories = (await admin.get(f"{ROOT}/resource_providers/{host.host_id}/inventories")).json["inventories"]
    assert set(inventories) == {"VCPU", "MEMORY_MB", "DISK_GB"}
    generation = found["generation"]
    host.restart()
    await host.register()
    [found] = (await admin.get(f"{ROOT}/resource_providers?name=host-a")).json["resource_providers"]
    assert found["generation"] == generation


async def test_version_document_needs_no_token(cloud: TestCloud) -> None:
    document = (await cloud.anonymous.get("/placement/")).json["versions"][0]
    assert (document["min_version"], document["max_version"]) == ("1.0", "1.39")


async def test_errors_have_codes_since_1_23_and_say_which_versions_there_are(cloud: TestCloud) -> None:
    path = f"{ROOT}/resource_providers/{A}"
    for version, has_code in (("1.22", False), ("1.23", True)):
        [error] = (await at(cloud.as_admin, version).get(path)).json["errors"]
        assert ("code" in error, error["status"]) == (has_code, 404)
    refused = await at(cloud.as_admin, "1.99").get(path)
    [error] = refused.json["errors"]
    assert (refused.status, error["min_version"], error["max_version"]) == (406, "1.0", "1.39")


async def test_whoever_loses_every_proposal_is_told_why(cloud: TestCloud) -> None:
    """Between the engine's picture and the rows somebody has been quicker, and the picture has not heard of it yet."""
    for name in ("host-a", "host-b"):
        await add_host(cloud, name)
    engine = cloud.cloud.placement
    await engine.fresh()
    owner = Owner(CONSUMER, "p", "u")

    def lose(tx: Tx) -> str:
        for host_id in list_host_ids(tx):
            while take(tx, host_id, {"VCPU": 1}):
                pass
        with pytest.raises(NoCapacity) as refused:
            claim_host(tx, engine, HostRequest({"VCPU": 1}), owner, seed=1, now_us=1)
        return refused.value.message

    assert "2 hosts: taken by others a moment ago" in await cloud.db.run(lose)
