"""The operator's own rules in policy.yaml, in every service. (Every route by every persona: test_personas.py.)"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from ostro.model.errors import Invalid
from ostro.services.cloud import read_policies
from ostro.testing.cloud import ApiClient, TestCloud, open_cloud
from ostro.testing.servers import put_server

V3 = "/identity/v3"
SERVERS = "/compute/v2.1/servers"
NETWORKS = "/networking/v2.0/networks"


@asynccontextmanager
async def cloud_with(tmp_path: Path, rules: str) -> AsyncIterator[TestCloud]:
    (tmp_path / "policy.yaml").write_text(rules)
    async with open_cloud(tmp_path) as cloud:
        yield cloud


async def test_the_operators_rules_take_effect(tmp_path: Path) -> None:
    rules = 'identity:list_regions: "role:admin"\n"identity:create_region": "role:reader"\n"network:get_network": "role:admin"\n'
    async with cloud_with(tmp_path, rules) as cloud:
        ann = await cloud.add_user("ann", "blue", "reader")
        assert (await ann.get(f"{V3}/regions")).status == 403
        assert (await ann.post(f"{V3}/regions", {"region": {"id": "north"}})).status == 201
        assert (await ann.get(NETWORKS)).status == 403, "also of other services"
        assert (await cloud.as_admin.get(NETWORKS)).status == 200


async def test_names_as_upstreams_files_have_them(tmp_path: Path) -> None:
    """Neutron's and Glance's without a prefix, deprecated ones, rules of one's own and upstream's shared ones by ``rule:``, and lists."""
    rules = """
"get_network": "rule:auditor or rule:admin_only"
"get_images": [["rule:auditor"], ["role:admin", "role:member"]]
"os_compute_api:os-hypervisors": "rule:auditor or rule:context_is_admin"
"os_compute_api:os-hypervisors:statistics": "rule:admin_api"
"volume:get_all": "rule:xena_system_admin_or_project_member"
"volume:create": "rule:volume:get_all and not rule:auditor"
"auditor": "role:reader and not role:member"
"""
    async with cloud_with(tmp_path, rules) as cloud:
        reader = await cloud.add_user("rita", "blue", "reader")
        member = await cloud.add_user("max", "blue", "member")
        expected = {
            NETWORKS: (200, 403, 200),
            "/image/v2/images": (200, 403, 200),
            "/compute/v2.1/os-hypervisors": (200, 403, 200),
            "/compute/v2.1/os-hypervisors/statistics": (403, 403, 200),
            "/volume/v3/volumes": (403, 200, 200),
        }
        for path, statuses in expected.items():
            seen = [(await who.get(path)).status for who in (reader, member, cloud.as_admin)]
            assert tuple(seen) == statuses, path
        volume = {"volume": {"size": 1}}
        made = [(await who.post("/volume/v3/volumes", volume)).status for who in (reader, member)]
        assert made == [403, 202]


async def test_actions_and_parts_have_policies_too(tmp_path: Path) -> None:
    async with cloud_with(tmp_path, '"os_compute_api:os-lock-server:lock": "!"\n') as cloud:
        ann = await cloud.add_user("ann", "blue")
        await cloud.db.run(put_server, id="s", project_id=await project_of(cloud, ann), host_id="")
        path = f"{SERVERS}/s/action"
        assert (await ann.post(path, {"lock": None})).status == 403
        assert (await ann.post(path, {"unlock": None})).status == 202


async def project_of(cloud: TestCloud, client: ApiClient) -> str:
    return (await cloud.cloud.tokens.validate(client.token)).project_id


async def test_rules_about_whose_the_object_is(tmp_path: Path) -> None:
    """``user_id:%(user_id)s``: only who made a server may delete or unlock it. Another project's stays unseen."""
    rules = """
"os_compute_api:servers:delete": "role:admin or user_id:%(user_id)s"
"os_compute_api:os-lock-server:unlock": "role:admin or user_id:%(user_id)s"
"os_compute_api:servers:show": "project_id:%(project_id)s"
"os_compute_api:servers:detail": "rule:project_reader_or_admin"
"get_network": "project_id:%(project_id)s"
"""
    async with cloud_with(tmp_path, rules) as cloud:
        ann, bob = await cloud.add_user("ann", "blue"), await cloud.add_user("bob", "blue")
        actor = await cloud.cloud.tokens.validate(ann.token)
        await cloud.db.run(put_server, id="s", project_id=actor.project_id, user_id=actor.user_id, host_id="")
        await cloud.db.run(put_server, id="t", project_id="p2", user_id=actor.user_id)
        assert (await bob.post(f"{SERVERS}/s/action", {"unlock": None})).status == 403
        assert (await bob.delete(f"{SERVERS}/s")).status == 403
        assert (await ann.post(f"{SERVERS}/s/action", {"unlock": None})).status == 202
        for client in (ann, bob):
            assert (await client.get(f"{SERVERS}/s")).status == 200
            assert (await client.get(f"{SERVERS}/t")).status == 404
            assert (await client.get(f"{SERVERS}/none")).status == 404
            assert (await client.get(f"{SERVERS}/detail")).status == 200, "a list's target is the caller's own"
        assert (await cloud.as_admin.get(f"{SERVERS}/s")).status == 404, "the rule says nothing of administrators"
        assert (await ann.delete(f"{SERVERS}/s")).status == 204
        shared = {"network": {"name": "n", "shared": True}}
        network = (await cloud.as_admin.post(NETWORKS, shared)).json["network"]["id"]
        assert (await ann.get(f"{NETWORKS}/{network}")).status == 404, "though it is shared"
        assert (await cloud.as_admin.get(f"{NETWORKS}/{network}")).status == 200


async def test_parts_that_are_administrators_alone_by_default(tmp_path: Path) -> None:
    """Upstream's names for them too: what is asked for, what is shown, whose."""
    rules = """
"publicize_image": "role:member"
"create_network:shared": "role:member"
"os_compute_api:servers:detail:get_all_tenants": "role:reader"
"os_compute_api:os-extended-server-attributes": "role:admin or project_id:%(project_id)s"
"get_network:provider:network_type": "!"
"os_compute_api:os-lock-server:unlock:unlock_override": "role:member"
"""
    async with cloud_with(tmp_path, rules) as cloud:
        ann = await cloud.add_user("ann", "blue")
        image = {"disk_format": "raw", "container_format": "bare", "visibility": "public"}
        assert (await ann.post("/image/v2/images", image)).status == 201
        made = await ann.post(NETWORKS, {"network": {"name": "n", "shared": True}})
        assert made.status == 201
        await cloud.db.run(put_server, id="t", project_id="p2", host_id="", host_name="h1")
        path = f"{SERVERS}/detail?all_tenants=1"
        mine = await project_of(cloud, ann)
        await cloud.db.run(put_server, id="s", project_id=mine, host_id="", host_name="h1")
        shown = {server["id"]: server for server in (await ann.get(path)).json["servers"]}
        assert shown["s"]["OS-EXT-SRV-ATTR:host"] == "h1" and "OS-EXT-SRV-ATTR:host" not in shown["t"]
        assert (await ann.get(f"{SERVERS}?all_tenants=1")).status == 403, "the other list has a policy of its own"
        network = (await cloud.as_admin.get(f"{NETWORKS}/{made.json['network']['id']}")).json["network"]
        assert "provider:network_type" not in network, "nor administrators"
    async with open_cloud_without(tmp_path) as cloud:
        ann = await cloud.login("ann", "ann", "blue")
        assert (await ann.post("/image/v2/images", image)).status == 403
        assert (await ann.post(NETWORKS, {"network": {"name": "n", "shared": True}})).status == 403
        assert (await ann.get(path)).status == 403


@asynccontextmanager
async def open_cloud_without(tmp_path: Path) -> AsyncIterator[TestCloud]:
    """The same cloud without the operator's rules."""
    (tmp_path / "policy.yaml").unlink()
    async with open_cloud(tmp_path, seed=2) as cloud:
        yield cloud


async def test_a_name_that_is_no_policy_is_warned_of(tmp_path: Path) -> None:
    rules = '"os_compute_api:servers:shwo": "!"\n"helper": "role:x"\n"get_network": "rule:helper"\n'
    with structlog.testing.capture_logs() as logs:
        async with cloud_with(tmp_path, rules):
            pass
    warned = [line["policy"] for line in logs if line["event"] == "policy.yaml names no policy of ours"]
    assert warned == ["os_compute_api:servers:shwo"]


@pytest.mark.parametrize(
    "text", ["identity:list_regions: 1", "- a", 'a: "role:x and"', 'a: "http://example"', "a: [1]", "a: [[1]]"]
)
def test_a_file_that_is_wrong_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(Invalid):
        read_policies(tmp_path)
