"""Configuration of domains over HTTP."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"
PATH = f"{V3}/domains/default/config"


async def test_a_configuration(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    given = {"config": {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://a", "password": "hush"}}}
    assert (await admin.get(PATH)).status == 404
    created = await admin.put(PATH, given)
    assert created.status == 201
    assert created.json["config"]["ldap"] == {"url": "ldap://a"}, "passwords are not shown"
    assert (await admin.put(PATH, given)).status == 200
    assert (await admin.get(f"{PATH}/identity")).json == {"config": {"identity": {"driver": "ldap"}}}
    assert (await admin.get(f"{PATH}/ldap/url")).json == {"config": {"url": "ldap://a"}}
    assert (await admin.get(f"{PATH}/ldap/suffix")).status == 404
    assert (await admin.get(f"{PATH}/nonsense")).status == 403
    changed = await admin.patch(f"{PATH}/ldap/url", {"config": {"url": "ldap://b"}})
    assert changed.json["config"]["ldap"]["url"] == "ldap://b"
    assert (await admin.patch(f"{PATH}/ldap/suffix", {"config": {"suffix": "x"}})).status == 404
    assert (await admin.patch(PATH, {"config": {"ldap": {"nonsense": 1}}})).status == 403
    assert (await admin.delete(f"{PATH}/ldap/url")).status == 204
    assert (await admin.delete(f"{PATH}/ldap")).status == 204
    assert (await admin.delete(PATH)).status == 204
    assert (await admin.get(PATH)).status == 404


async def test_defaults_and_what_everybody_may_see(cloud: TestCloud) -> None:
    admin, ann = cloud.as_admin, await cloud.add_user("ann", "blue")
    assert (await admin.get(f"{V3}/domains/config/default")).json["config"]["identity"] == {"driver": "sql"}
    assert (await admin.get(f"{V3}/domains/config/identity/default")).json["config"] == {"identity": {"driver": "sql"}}
    assert (await admin.get(f"{V3}/domains/config/identity/driver/default")).json["config"] == {"driver": "sql"}
    assert (await ann.get(f"{V3}/domains/config/default")).status == 403
    shown = (await ann.get(f"{PATH}/security_compliance")).json["config"]
    assert shown == {"security_compliance": {"password_regex": None, "password_regex_description": None}}
    assert (await ann.get(f"{PATH}/security_compliance/password_regex")).json["config"] == {"password_regex": None}
    assert (await ann.get(f"{PATH}/security_compliance/lockout_duration")).status == 403
    assert (await ann.get(PATH)).status == 403
