"""Identity as its reference lists it: operations that no other test has reason to use, each seen to do what it says."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import ApiClient, TestCloud

V3 = "/identity/v3"


async def make(client: ApiClient, plural: str, singular: str, **values: Any) -> str:
    answer = await client.post(f"{V3}/{plural}", {singular: values})
    assert answer.status == 201, answer.body
    return str(answer.json[singular]["id"])


async def show(client: ApiClient, path: str) -> Any:
    answer = await client.get(f"{V3}/{path}")
    assert answer.status == 200, answer.body
    return answer.json


async def done(client: ApiClient, method: str, path: str, json: Any = None, status: int = 204) -> Any:
    answer = await client.request(method, f"{V3}/{path}", json)
    assert answer.status == status, answer.body
    return answer.json if answer.body else None


TARGETS = ("projects/{project}", "domains/{domain}", "system")
GRANTS = [
    *((target, "") for target in TARGETS),
    ("OS-INHERIT/projects/{project}", "/inherited_to_projects"),
    ("OS-INHERIT/domains/{domain}", "/inherited_to_projects"),
]


@pytest.mark.parametrize("holders", ["users", "groups"])
@pytest.mark.parametrize(("target", "inherited"), GRANTS)
async def test_a_role_is_given_found_listed_and_taken(
    cloud: TestCloud, holders: str, target: str, inherited: str
) -> None:
    admin = cloud.as_admin
    domain = await make(admin, "domains", "domain", name="far")
    names = {"domain": domain, "project": await make(admin, "projects", "project", name="p", domain_id=domain)}
    holder = await make(admin, holders, holders[:-1], name="h", domain_id=domain)
    role = await make(admin, "roles", "role", name="baker")
    roles = f"{target.format(**names)}/{holders}/{holder}/roles"
    one = f"{roles}/{role}{inherited}"
    missing = await admin.get(f"{V3}/{one}")
    assert missing.status == 404
    for _ in range(2):
        await done(admin, "PUT", one)
    # Inherited roles answer by their presence alone, and so do the others but to GET of the system, as in Keystone.
    assert (await admin.get(f"{V3}/{one}")).status == 204
    assert (await admin.request("HEAD", f"{V3}/{one}")).status == 204
    assert [r["id"] for r in (await show(admin, roles + inherited))["roles"]] == [role]
    await done(admin, "DELETE", one)
    assert (await admin.get(f"{V3}/{one}")).status == 404
    assert (await show(admin, roles + inherited))["roles"] == []


async def test_implied_roles_one_by_one(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    prior, implied = [await make(admin, "roles", "role", name=name) for name in ("chef", "cook")]
    assert (await admin.get(f"{V3}/roles/{prior}/implies/{implied}")).status == 404
    await done(admin, "PUT", f"roles/{prior}/implies/{implied}", status=201)
    found = (await show(admin, f"roles/{prior}/implies/{implied}"))["role_inference"]
    assert (found["prior_role"]["id"], found["implies"]["id"]) == (prior, implied)


async def test_tags_of_projects(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    tags = f"projects/{await make(admin, 'projects', 'project', name='p')}/tags"
    await done(admin, "PUT", f"{tags}/blue", status=201)
    await done(admin, "GET", f"{tags}/blue")
    assert (await admin.get(f"{V3}/{tags}/red")).status == 404
    assert (await done(admin, "PUT", tags, {"tags": ["green", "red"]}, 200))["tags"] == ["green", "red"]
    await done(admin, "DELETE", f"{tags}/green")
    assert (await show(admin, tags))["tags"] == ["red"]
    await done(admin, "DELETE", tags)
    assert (await show(admin, tags))["tags"] == []


async def test_catalogue_is_changed_piece_by_piece(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    region = await make(admin, "regions", "region", id="north", description="")
    assert (await done(admin, "PATCH", f"regions/{region}", {"region": {"description": "cold"}}, 200))["region"][
        "description"
    ] == "cold"
    service = await make(admin, "services", "service", type="bakery", name="ovens")
    endpoint = await make(
        admin, "endpoints", "endpoint", interface="public", service_id=service, url="http://a", region_id=region
    )
    changed = await done(admin, "PATCH", f"endpoints/{endpoint}", {"endpoint": {"url": "http://b"}}, 200)
    assert changed["endpoint"]["url"] == "http://b"
    group = await make(
        admin, "OS-EP-FILTER/endpoint_groups", "endpoint_group", name="g", filters={"service_id": service}
    )
    assert (await show(admin, f"OS-EP-FILTER/endpoint_groups/{group}"))["endpoint_group"]["name"] == "g"
    policy = await make(admin, "policies", "policy", blob="{}", type="application/json")
    assert (await show(admin, f"policies/{policy}"))["policy"]["blob"] == "{}"
    assert (await done(admin, "PATCH", f"policies/{policy}", {"policy": {"blob": "x"}}, 200))["policy"]["blob"] == "x"
    for place in (f"services/{service}", f"services/{service}/regions/{region}", f"endpoints/{endpoint}"):
        bound = f"policies/{policy}/OS-ENDPOINT-POLICY/{place}"
        await done(admin, "PUT", bound)
        await done(admin, "GET", bound)
        await done(admin, "DELETE", bound)
        assert (await admin.get(f"{V3}/{bound}")).status == 404
    await done(admin, "DELETE", f"endpoints/{endpoint}")
    assert (await admin.get(f"{V3}/endpoints/{endpoint}")).status == 404


async def test_domain_configurations_by_group(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    config = f"domains/{await make(admin, 'domains', 'domain', name='far')}/config"
    await done(admin, "PUT", config, {"config": {"ldap": {"url": "ldap://a", "user_tree_dn": "ou=u"}}}, 201)
    assert (await show(admin, config))["config"]["ldap"]["url"] == "ldap://a"
    await done(admin, "PATCH", config, {"config": {"ldap": {"url": "ldap://b"}}}, 200)
    await done(admin, "PATCH", f"{config}/ldap", {"config": {"ldap": {"user_tree_dn": "ou=v"}}}, 200)
    assert (await show(admin, f"{config}/ldap"))["config"] == {"ldap": {"url": "ldap://b", "user_tree_dn": "ou=v"}}


async def test_records_one_by_one(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    user = await make(admin, "users", "user", name="u")
    group = await make(admin, "groups", "group", name="g")
    assert (await show(admin, f"groups/{group}"))["group"]["name"] == "g"
    credential = await make(admin, "credentials", "credential", user_id=user, type="cert", blob="b")
    assert (await show(admin, f"credentials/{credential}"))["credential"]["blob"] == "b"
    [service] = [s for s in (await show(admin, "services"))["services"] if s["type"] == "compute"]
    limit = {"service_id": service["id"], "resource_name": "loaves", "default_limit": 3}
    made = (await done(admin, "POST", "registered_limits", {"registered_limits": [limit]}, 201))["registered_limits"][0]
    assert (await show(admin, f"registered_limits/{made['id']}"))["registered_limit"]["default_limit"] == 3
    assert (await show(admin, f"users/{user}/projects"))["projects"] == []


async def test_federation_records_one_by_one(cloud: TestCloud) -> None:
    admin, root = cloud.as_admin, "OS-FEDERATION"
    rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "sub"}]}]
    await done(admin, "PUT", f"{root}/identity_providers/idp", {"identity_provider": {"enabled": True}}, 201)
    await done(admin, "PUT", f"{root}/mappings/m", {"mapping": {"rules": rules}}, 201)
    await done(admin, "PUT", f"{root}/identity_providers/idp/protocols/openid", {"protocol": {"mapping_id": "m"}}, 201)
    provider = {"auth_url": "https://there/auth", "sp_url": "https://there/sp", "enabled": True}
    await done(admin, "PUT", f"{root}/service_providers/there", {"service_provider": provider}, 201)
    assert (await show(admin, f"{root}/identity_providers/idp"))["identity_provider"]["id"] == "idp"
    shown = (await show(admin, f"{root}/identity_providers/idp/protocols/openid"))["protocol"]
    assert (shown["id"], shown["mapping_id"]) == ("openid", "m")
    assert (await show(admin, f"{root}/service_providers/there"))["service_provider"]["sp_url"] == "https://there/sp"
    rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "email"}]}]
    changed = await done(admin, "PATCH", f"{root}/mappings/m", {"mapping": {"rules": rules}}, 200)
    assert changed["mapping"]["rules"][0]["remote"] == [{"type": "email"}]
    await done(admin, "DELETE", f"{root}/identity_providers/idp/protocols/openid")
    await done(admin, "DELETE", f"{root}/mappings/m")
    assert (await admin.get(f"{V3}/{root}/mappings/m")).status == 404


async def test_version_documents(cloud: TestCloud) -> None:
    several = await cloud.anonymous.get("/identity/")
    assert several.status == 300 and several.json["versions"]["values"][0]["id"].startswith("v3.")
    one = await cloud.anonymous.get(V3)
    assert one.status == 200 and one.json["version"]["status"] == "stable"
