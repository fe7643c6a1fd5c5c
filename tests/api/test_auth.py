"""What a token can be exchanged for."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"


async def test_scopes_of_an_administrator(cloud: TestCloud) -> None:
    projects = (await cloud.as_admin.get(f"{V3}/auth/projects")).json
    assert [project["name"] for project in projects["projects"]] == ["admin"]
    assert projects["links"]["next"] is None
    domains = (await cloud.as_admin.get(f"{V3}/auth/domains")).json["domains"]
    assert [domain["name"] for domain in domains] == ["Default"]
    assert (await cloud.as_admin.get(f"{V3}/auth/system")).json["system"] == [{"all": True}]


async def test_scopes_of_a_member(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    projects = (await ann.get(f"{V3}/auth/projects")).json["projects"]
    assert [project["name"] for project in projects] == ["blue"]
    assert (await ann.get(f"{V3}/auth/domains")).json["domains"] == []
    assert (await ann.get(f"{V3}/auth/system")).json["system"] == []


async def test_catalog(cloud: TestCloud) -> None:
    catalog = (await cloud.as_admin.get(f"{V3}/auth/catalog")).json["catalog"]
    assert "identity" in {entry["type"] for entry in catalog}
