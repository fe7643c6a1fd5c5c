"""Every route of every service by every persona: let through or refused as the generated reference of policies says.

The expectation is read from the text that operators read (`api/policy.yaml` is generated from the same declarations), and asked at the real gate.
Whoever passes is answered by whatever becomes of a call for what doesn't exist; whoever doesn't is told 403 and no more.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ostro.http.catalog import SERVICES
from ostro.http.policy import Rule
from ostro.http.reference import make_reference, policies_of
from ostro.http.route import Route, Service
from ostro.http.versions import Version
from ostro.model.policy import Default, Policies
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.servers import put_migration, put_server

V3 = "/identity/v3"
SCOPES = ("system", "domain", "project")
ROLES = ("admin", "manager", "member", "reader", "service")
OF_HOSTS = frozenset(("agent", "join", "health"))
"""Services that know no personas: hosts' keys and certificates, and what supervisors ask."""


async def login_as(cloud: TestCloud, scope: str, role: str, project: str = "admin") -> ApiClient:
    """A new user with just this role on just this scope."""
    admin, name = cloud.as_admin, f"{scope}-{role}-{project}"
    user = (await admin.post(f"{V3}/users", {"user": {"name": name, "password": "pw"}})).json["user"]["id"]
    (found,) = (await admin.get(f"{V3}/roles?name={role}")).json["roles"]
    (owned,) = (await admin.get(f"{V3}/projects?name={project}")).json["projects"]
    target = {"system": "system", "domain": "domains/default", "project": f"projects/{owned['id']}"}[scope]
    assert (await admin.put(f"{V3}/{target}/users/{user}/roles/{found['id']}")).status == 204
    scopes: dict[str, Any] = {
        "system": {"system": {"all": True}},
        "domain": {"domain": {"id": "default"}},
        "project": {"project": {"id": owned["id"]}},
    }
    identity = {"methods": ["password"], "password": {"user": {"id": user, "password": "pw"}}}
    answer = await cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": identity, "scope": scopes[scope]}})
    assert answer.status == 201, answer.body
    return ApiClient(cloud.app, answer.headers["X-Subject-Token"])


def read_reference() -> Policies:
    """The reference, as an operator's tool would read it: every rule with the scopes that its comment says."""
    text = make_reference(SERVICES)
    rules = yaml.safe_load(re.sub(r'^#(?=")', "", text, flags=re.MULTILINE))
    scopes = re.findall(r'^# scopes: (.*)\n(?:# .*\n)?#"(.*?)":', text, flags=re.MULTILINE)
    assert len(rules) == len(scopes)
    return Policies({name: Default(rules[name], frozenset(said.split(", "))) for said, name in scopes})


async def ask(
    client: ApiClient, service: Service, route: Route, names: dict[str, str], body: dict[str, Any] | None = None
) -> tuple[int, bytes]:
    """Call the route at a microversion that it covers; status and body. What ``names`` doesn't say is called what nothing is."""
    path = service.prefixes[0] + re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: names.get(m[1], "0" * 32), route.path)
    headers = {"Destination": "x/y"} if route.method == "COPY" else {}
    version: Version | None = route.low or route.high or (service.versions.high if service.versions else None)
    if service.versions and version:
        headers["OpenStack-API-Version"] = f"{service.versions.names[0]} {version}"
        if service.versions.legacy_header:
            headers[service.versions.legacy_header] = str(version)
    if route.path == "/v2.1/os-migrations":
        path += "?project_id=" + names["project_id"]  # Others' are for administrators.
    answer = await client.request(route.method, path, json=body, headers=headers)
    assert answer.status < 500 or answer.status == 501, f"{route.method} {path}: {answer.body!r}"
    return answer.status, answer.body


def may_in_object_store(route: Route, scope: str, role: str) -> bool:
    """In an account of its own project: readers read, members write; no other scope is anybody there."""
    if route.path == "/info":
        return True
    return scope == "project" and (
        role in ("admin", "manager", "member") or (role == "reader" and route.method in ("GET", "HEAD"))
    )


async def make_objects(cloud: TestCloud) -> dict[str, str]:
    """One of each noun that is looked up before its policy is asked: what ``Rule.TARGET`` routes need to be refused."""
    admin = cloud.as_admin
    me = (await admin.get(f"{V3}/users?name=admin")).json["users"][0]["id"]
    made = {}
    for noun, body in {
        "role": {"name": "r"},
        "domain": {"name": "d"},
        "group": {"name": "g"},
        "credential": {"type": "cert", "blob": "{}", "user_id": me},
    }.items():
        made[noun] = (await admin.post(f"{V3}/{noun}s", {noun: body})).json[noun]["id"]
    project = (await admin.get(f"{V3}/projects?name=admin")).json["projects"][0]["id"]
    ec2 = await admin.post(f"{V3}/users/{me}/credentials/OS-EC2", {"tenant_id": project})
    return {
        **{f"{noun}_id": id_ for noun, id_ in made.items()},
        "id": made["credential"],
        "access": ec2.json["credential"]["access"],
        "user_id": me,
    }


@pytest.mark.parametrize("scope", SCOPES)
async def test_every_route_by_every_persona(cloud: TestCloud, scope: str) -> None:
    reference, real = read_reference(), await make_objects(cloud)
    (project,) = (await cloud.as_admin.get(f"{V3}/projects?name=admin")).json["projects"]
    names = {"account": project["id"], "group": "ldap", "option": "url"}
    own = names | {"project_id": project["id"], "target_id": project["id"]}
    counted = {True: 0, False: 0, None: 0}
    wrong: list[str] = []
    for role in ROLES:
        client = await login_as(cloud, scope, role)
        actor = await cloud.cloud.tokens.validate(client.token)
        for service in SERVICES:
            for route in service.routes:
                if service.name == "object":
                    may: bool | None = may_in_object_store(route, scope, role)
                elif service.name in OF_HOSTS:
                    may = None
                else:
                    may = reference.judge(route.policy, actor, None)
                counted[may] += 1
                looked_up = route.rule is Rule.TARGET and may is False
                given = real if looked_up else names if service.name == "identity" else own
                status, body = await ask(client, service, route, given, {} if looked_up and route.body else None)
                if looked_up and route.body:
                    may = None if status == 400 else may  # Its body is looked at first.
                if service.name == "agent" and status != 401:
                    wrong.append(f"{route.method} {route.path}: a user's token is none of a host's")
                if (may is False and status != 403) or (may is True and (status == 403 or _is_refused(route, status))):
                    wrong.append(f"{route.policy}: {route.method} {route.path} by {role}: {status} {body[:90]!r}")
    assert not wrong, "\n".join(wrong)
    assert counted[True] > 200 and counted[False] > 200, "personas differ"


def _is_refused(route: Route, status: int) -> bool:
    return status == 401 and route.rule is not Rule.PUBLIC


@pytest.mark.parametrize("scope", SCOPES)
async def test_every_action_by_every_persona(cloud: TestCloud, scope: str) -> None:
    """Actions share a route and have policies of their own, which are asked before anything of their value is looked at."""
    reference = read_reference()
    asked = 0
    wrong: list[str] = []
    for role in ROLES:
        client = await login_as(cloud, scope, role)
        actor = await cloud.cloud.tokens.validate(client.token)
        for service in SERVICES:
            for route in service.routes:
                for action, (policy, _rule) in route.actions.items():
                    status, body = await ask(client, service, route, {}, {action: VALUES.get(action)})
                    may = reference.may(route.policy, actor) and reference.may(policy, actor)
                    asked += 1
                    if may == (status == 403):
                        wrong.append(f"{policy}: {action} by {role}: {status} {body[:90]!r}")
    assert not wrong, "\n".join(wrong)
    assert asked > 150


async def test_who_manages_a_project_moves_its_servers_but_not_whereto(cloud: TestCloud) -> None:
    """And sees no hosts. Another project's servers are not there for it."""
    manager = (await login_as(cloud, "project", "manager")).with_headers(OpenStack_API_Version="compute 2.80")
    mine = (await cloud.cloud.tokens.validate(manager.token)).project_id
    await cloud.db.run(put_server, id="mine", project_id=mine)
    await cloud.db.run(put_server, id="theirs", project_id="p2")
    for action, value in (("migrate", {"host": "b"}), ("os-migrateLive", {"host": "b", "block_migration": "auto"})):
        chosen = await manager.post("/compute/v2.1/servers/mine/action", {action: value})
        assert chosen.status == 403 and ":host" in chosen.json["forbidden"]["message"]
        free = {**value, "host": None}
        assert (await manager.post("/compute/v2.1/servers/theirs/action", {action: free})).status == 404
        moved = await manager.post("/compute/v2.1/servers/mine/action", {action: free})
        assert b"Host h could not be found" in moved.body, (
            "it came as far as looking for hosts, of which there are none"
        )
    assert (await manager.get("/compute/v2.1/os-migrations")).status == 403, "of every project"
    assert (await manager.get("/compute/v2.1/os-migrations?project_id=p2")).status == 403
    await cloud.db.run(put_migration, "m1", "mine", mine)
    await cloud.db.run(put_migration, "m2", "theirs", "p2")
    (seen,) = (await manager.get(f"/compute/v2.1/os-migrations?project_id={mine}")).json["migrations"]
    assert (seen["uuid"], seen["source_compute"], seen["dest_compute"]) == ("m1", None, None)
    for path in ("theirs/migrations", "theirs/migrations/1"):
        assert (await manager.get(f"/compute/v2.1/servers/{path}")).status in (403, 404)
    assert (await manager.delete("/compute/v2.1/servers/theirs/migrations/1")).status == 404
    admins = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.80")
    both = (await admins.get("/compute/v2.1/os-migrations")).json["migrations"]
    assert {one["source_compute"] for one in both} == {"a"}


async def test_one_policy_has_one_rule() -> None:
    """What the reference says of a name is so wherever the name decides."""
    rules: dict[str, set[Rule]] = {}
    for service in SERVICES:
        for route in service.routes:
            for name, rule in policies_of(route):
                rules.setdefault(name, set()).add(rule)
    assert {name: found for name, found in rules.items() if len(found) > 1 and not found <= LOOSE} == {}


LOOSE = {Rule.POLICY, Rule.TARGET}
"""Both are judged by the policy itself."""


VALUES: dict[str, Any] = {
    "os-extend": {"new_size": 2},
    "os-reset_status": {"status": "error"},
    "os-retype": {"new_type": "x"},
    "os-volume_upload_image": {"image_name": "x"},
    "os-attach": {"mountpoint": "/dev/vdb", "instance_uuid": None},
    "revert": {"snapshot_id": "x"},
    "os-set_bootable": {"bootable": True},
    "os-set_image_metadata": {"metadata": {}},
    "os-unset_image_metadata": {"key": "x"},
    "addProjectAccess": {"project": "x"},
    "removeProjectAccess": {"project": "x"},
}
"""What an action must be given so that its value is well-formed, where the route's schema looks at it."""


def test_the_reference_has_every_policy() -> None:
    reference = read_reference()
    for service in SERVICES:
        for route in service.routes:
            for name, _rule in policies_of(route):
                assert name in reference.defaults, name
