"""Compute's quotas over HTTP: shown, changed, and held."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from ostro.model.quotas import LimitModel, LimitRules
from ostro.services.identity.catalog import seed_limits
from ostro.store.servers import SERVERS
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"
SETS = f"{COMPUTE}/os-quota-sets"
V3 = "/identity/v3"


def at(client: ApiClient, version: str = "2.79") -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


@pytest.fixture
async def limited(cloud: TestCloud) -> TestCloud:
    """A cloud with upstream's default limits, a large host, an image and a flavor ``f`` of 2 cores."""
    await cloud.db.run(seed_limits, cloud.world)
    await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 64, "vcpus": 2, "disk": 1}}
    assert (await cloud.as_admin.post(f"{COMPUTE}/flavors", flavor)).status == 200
    return cloud


async def project_id(cloud: TestCloud, name: str) -> str:
    (project,) = (await cloud.as_admin.get(f"{V3}/projects?name={name}")).json["projects"]
    return str(project["id"])


async def boot(client: ApiClient, **more: Any) -> Any:
    hints = more.pop("hints", {})
    server = {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none", **more}
    return await at(client).post(f"{COMPUTE}/servers", {"server": server, "os:scheduler_hints": hints})


async def count(cloud: TestCloud) -> int:
    return await cloud.db.read(lambda tx: SERVERS.count(tx, deleted_at_us=0))


async def test_defaults_are_upstreams_and_seeded_once(limited: TestCloud) -> None:
    admin = at(limited.as_admin)
    registered = (await admin.get(f"{V3}/registered_limits?resource_name=class:VCPU")).json["registered_limits"]
    assert [row["default_limit"] for row in registered] == [20]
    assert (await admin.delete(f"{V3}/registered_limits/{registered[0]['id']}")).status == 204
    await limited.db.run(seed_limits, limited.world)
    quotas = (await admin.get(f"{SETS}/x/defaults")).json["quota_set"]
    assert quotas.pop("id") == "x"
    assert quotas == {
        "instances": 10,
        "cores": -1,
        "ram": 51200,
        "metadata_items": 128,
        "key_pairs": 100,
        "server_groups": 10,
        "server_group_members": 10,
    }


async def test_servers_are_refused_in_novas_words(limited: TestCloud) -> None:
    ann = await limited.add_user("ann", "blue")
    blue = await project_id(limited, "blue")
    admin = at(limited.as_admin)
    changed = await admin.put(f"{SETS}/{blue}", {"quota_set": {"cores": 4, "instances": "3"}})
    assert (changed.status, changed.json["quota_set"]["cores"], changed.json["quota_set"]["instances"]) == (200, 4, 3)
    assert (await boot(ann)).status == 202
    refused = await boot(ann, min_count=2)
    assert refused.status == 403
    assert refused.json["forbidden"]["message"] == (
        "Quota exceeded for cores: Requested 4, but already used 2 of 4 cores"
    )
    assert (await boot(ann, min_count=1, max_count=9)).status == 202, "as many as fit, which is one"
    assert await count(limited) == 2
    detail = (await at(ann).get(f"{SETS}/{blue}/detail")).json["quota_set"]
    assert detail["cores"] == {"limit": 4, "in_use": 4, "reserved": 0}
    absolute = (await at(ann).get(f"{COMPUTE}/limits")).json["limits"]["absolute"]
    assert (absolute["maxTotalCores"], absolute["totalCoresUsed"], absolute["totalInstancesUsed"]) == (4, 4, 2)
    # The limit is Identity's, and taking it away there is enough.
    (own,) = (await admin.get(f"{V3}/limits?project_id={blue}&resource_name=class:VCPU")).json["limits"]
    assert own["resource_limit"] == 4
    assert (await admin.delete(f"{V3}/limits/{own['id']}")).status == 204
    assert (await boot(ann)).status == 202
    assert (await boot(ann)).json["forbidden"]["message"].startswith("Quota exceeded for instances: Requested 1")
    assert (await admin.delete(f"{SETS}/{blue}")).status == 202
    assert (await boot(ann)).status == 202, "another project's servers don't count"


async def test_a_deleted_server_counts_no_more(limited: TestCloud) -> None:
    admin = at(limited.as_admin)
    project = await project_id(limited, "admin")
    await admin.put(f"{SETS}/{project}", {"quota_set": {"instances": 1}})
    server_id = (await boot(admin)).json["server"]["id"]
    assert (await boot(admin)).status == 403
    host = await add_host(limited)
    await converge(limited, host)
    assert (await admin.delete(f"{COMPUTE}/servers/{server_id}")).status == 204
    await converge(limited, host)
    assert (await boot(admin)).status == 202


async def test_quota_sets_refuse_what_novas_do(limited: TestCloud) -> None:
    ann = await limited.add_user("ann", "blue")
    blue = await project_id(limited, "blue")
    admin = at(limited.as_admin)
    assert (await boot(ann)).status == 202
    less = await admin.put(f"{SETS}/{blue}", {"quota_set": {"cores": 1}})
    assert less.status == 400 and "must be greater than or equal to already used and reserved 2" in str(less.json)
    assert (await admin.put(f"{SETS}/{blue}", {"quota_set": {"cores": 1, "force": True}})).status == 200
    for bad in ({"cores": -2}, {"cores": "99999999999"}, {"lemons": 1}, {"floating_ips": 1}, {"injected_files": 1}):
        assert (await admin.put(f"{SETS}/{blue}", {"quota_set": bad})).status == 400, bad
    nobody = await admin.put(f"{SETS}/nobody", {"quota_set": {"cores": 1}})
    assert nobody.json["badRequest"]["message"] == "Project ID nobody is not a valid project."
    assert (await at(ann).put(f"{SETS}/{blue}", {"quota_set": {"cores": 99}})).status == 403
    assert (await at(ann).get(f"{SETS}/{await project_id(limited, 'admin')}")).status == 403
    old = (await at(limited.as_admin, "2.1").get(f"{SETS}/{blue}")).json["quota_set"]
    assert (old["floating_ips"], old["injected_files"]) == (-1, 5)
    assert (await admin.put(f"{SETS}/{blue}?user_id=u", {"quota_set": {"cores": 9}})).status == 501


async def test_quota_classes(limited: TestCloud) -> None:
    admin, classes = at(limited.as_admin), f"{COMPUTE}/os-quota-class-sets"
    answer = await admin.put(f"{classes}/default", {"quota_class_set": {"cores": 2}})
    assert answer.json["quota_class_set"]["cores"] == 2
    (row,) = (await admin.get(f"{V3}/registered_limits?resource_name=class:VCPU")).json["registered_limits"]
    assert row["default_limit"] == 2, "the default class is what is registered"
    assert (await boot(admin, min_count=2)).status == 403
    await admin.put(f"{classes}/gold", {"quota_class_set": {"cores": 99}})
    assert (await admin.get(f"{classes}/gold")).json["quota_class_set"]["cores"] == 99
    assert (await admin.get(f"{classes}/default")).json["quota_class_set"]["cores"] == 2
    assert "server_groups" not in (await at(limited.as_admin, "2.49").get(f"{classes}/gold")).json["quota_class_set"]


async def test_keypairs_groups_members_and_metadata(limited: TestCloud) -> None:
    admin = at(limited.as_admin)
    numbers = {"key_pairs": 1, "server_groups": 1, "server_group_members": 1, "metadata_items": 1}
    await admin.put(f"{SETS}/{await project_id(limited, 'admin')}", {"quota_set": numbers})
    for status in (201, 403):
        made = await at(limited.as_admin, "2.2").post(f"{COMPUTE}/os-keypairs", {"keypair": {"name": f"k{status}"}})
        assert made.status == status
    assert made.json["forbidden"]["message"] == "Quota exceeded, too many key pairs."
    group = {"server_group": {"name": "g", "policy": "anti-affinity"}}
    group_id = (await admin.post(f"{COMPUTE}/os-server-groups", group)).json["server_group"]["id"]
    refused = await admin.post(f"{COMPUTE}/os-server-groups", group)
    assert refused.json["forbidden"]["message"] == "Quota exceeded, too many server groups."
    first = await boot(admin, hints={"group": group_id}, metadata={"a": "1"})
    assert first.status == 202
    refused = await boot(admin, hints={"group": group_id})
    assert refused.json["forbidden"]["message"] == "Quota exceeded, too many servers in group"
    more = await admin.post(f"{COMPUTE}/servers/{first.json['server']['id']}/metadata", {"metadata": {"b": "2"}})
    assert more.json["forbidden"]["message"] == "Maximum number of metadata items exceeds 1"


async def test_two_levels(limited: TestCloud) -> None:
    """A domain's limit bounds its projects together, and none of them may have more for itself."""
    object.__setattr__(limited.cloud, "limits", LimitRules(LimitModel.STRICT_TWO_LEVEL, "RegionOne"))
    admin = at(limited.as_admin)
    assert (await admin.get(f"{V3}/limits/model")).json["model"]["name"] == "strict_two_level"
    (service,) = (await admin.get(f"{V3}/services?type=compute")).json["services"]
    key = {"service_id": service["id"], "resource_name": "class:VCPU"}
    given = {"limits": [{**key, "domain_id": "default", "resource_limit": 4}]}
    (own,) = (await admin.post(f"{V3}/limits", given)).json["limits"]
    ann, bob = await limited.add_user("ann", "blue"), await limited.add_user("bob", "red")
    assert (await boot(ann)).status == 202
    assert (await boot(bob)).status == 202
    refused = await boot(ann)
    assert (
        refused.json["forbidden"]["message"] == "Quota exceeded for cores: Requested 2, but already used 4 of 4 cores"
    )
    blue = await project_id(limited, "blue")
    over = {"limits": [{**key, "project_id": blue, "resource_limit": 5}]}
    assert (await admin.post(f"{V3}/limits", over)).status == 403
    assert (await admin.put(f"{SETS}/{blue}", {"quota_set": {"cores": -1}})).status == 403
    assert (await admin.put(f"{SETS}/{blue}", {"quota_set": {"cores": 3}})).status == 200
    less = {"limit": {"resource_limit": 2}}
    assert (await admin.patch(f"{V3}/limits/{own['id']}", less)).status == 403, "a project has 3"
    below = {"project": {"name": "below", "parent_id": blue}}
    assert (await admin.post(f"{V3}/projects", below)).status == 403


@pytest.mark.parametrize("each", [1, 2])
async def test_sixteen_writers_never_pass_a_quota(limited: TestCloud, each: int) -> None:
    admin = limited.as_admin
    await at(admin).put(f"{SETS}/{await project_id(limited, 'admin')}", {"quota_set": {"instances": 8, "cores": 15}})
    statuses: list[int] = []

    async def write() -> None:
        statuses.append((await boot(admin, min_count=each)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(write)
    made = await count(limited)
    # 7 servers of 2 cores fit; in twos, six.
    assert made == (7 if each == 1 else 6)
    assert sorted(set(statuses)) == [202, 403] and statuses.count(202) == made // each


def test_the_model_is_a_setting(tmp_path: Any) -> None:
    from ostro.services.identity.settings import read_identity

    (tmp_path / "identity.yaml").write_text("enforcement_model: strict_two_level\n")
    assert read_identity(tmp_path).compliance.enforcement_model is LimitModel.STRICT_TWO_LEVEL
    assert msgspec.json.encode(LimitModel.FLAT) == b'"flat"'


async def test_a_resize_counts_with_its_larger_shape_until_it_is_confirmed(limited: TestCloud) -> None:
    admin = at(limited.as_admin)
    host = await add_host(limited)
    for name, vcpus in (("big", 4), ("huge", 9)):
        flavor = {"flavor": {"name": name, "id": name, "ram": 64, "vcpus": vcpus, "disk": 1}}
        assert (await admin.post(f"{COMPUTE}/flavors", flavor)).status == 200
    project = await project_id(limited, "admin")
    await admin.put(f"{SETS}/{project}", {"quota_set": {"cores": 7}})
    first, second = [(await boot(admin)).json["server"]["id"] for _ in range(2)]
    await converge(limited, host)

    async def resize(server_id: str, flavor: str) -> Any:
        return await admin.post(f"{COMPUTE}/servers/{server_id}/action", {"resize": {"flavorRef": flavor}})

    refused = await resize(first, "huge")
    assert refused.status == 403
    assert (
        refused.json["forbidden"]["message"] == "Quota exceeded for cores: Requested 7, but already used 4 of 7 cores"
    )
    assert (await resize(first, "big")).status == 202
    used = (await admin.get(f"{SETS}/{project}/detail")).json["quota_set"]["cores"]["in_use"]
    assert used == 6, "although the server still has two"
    assert (await resize(second, "big")).status == 403
    assert (await boot(admin)).status == 403
