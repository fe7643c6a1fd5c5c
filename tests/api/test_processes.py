"""Two API processes on one store: what is switched off by way of one is off at the other within a second."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from ostro.http.app import make_app
from ostro.http.gate import Gate
from ostro.runtime.world import World
from ostro.services.cloud import build_cloud
from ostro.services.identity import tokens
from ostro.store.database import Database
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.federated import AUTH, ROOT, V3, add_group, bring, scope
from ostro.testing.oidc import OidcServer

FRESH_S = 0.1
"""What takes a second takes this here."""
SLACK_S = 2.0
"""How late a reader of a loaded machine may be to note that time has passed."""
Switch = tuple[str, str, Any]
Elsewhere = Callable[[str], ApiClient]


@pytest.fixture
async def elsewhere(
    cloud: TestCloud,
    open_cloud_database: Callable[[World], Database],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Elsewhere]:
    """Clients of the second process, by their token."""
    assert tokens.FRESH_S <= 1.0, "within a second"
    monkeypatch.setattr(tokens, "FRESH_S", FRESH_S)
    world = World(random=random.Random(2))
    database = open_cloud_database(world)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        app = make_app(Gate(build_cloud(world, database, cloud.cloud.config), check_replies=True))
        yield lambda token: ApiClient(app, token)
        nursery.cancel_scope.cancel()
    database.close()


async def is_good(client: ApiClient) -> bool:
    status = (await client.get(f"{V3}/auth/projects")).status
    assert status in (200, 401)
    return status == 200


async def ends(client: ApiClient) -> None:
    """Return when the token is refused. A request that comes later than that after the change must not be let through."""
    changed_s = trio.current_time()
    while True:
        asked_s = trio.current_time()
        if not await is_good(client):
            return
        assert asked_s - changed_s < FRESH_S + SLACK_S, "still good"


async def flip(admin: ApiClient, there: ApiClient, path: str, noun: str) -> None:
    """Disable and enable an object here; the token is refused and good there."""
    assert await is_good(there), path
    assert (await admin.patch(path, {noun: {"enabled": False}})).status == 200
    await ends(there)
    assert (await admin.patch(path, {noun: {"enabled": True}})).status == 200
    with trio.fail_after(FRESH_S + 10 * SLACK_S):
        while not await is_good(there):
            pass


async def test_a_users_token(cloud: TestCloud, elsewhere: Elsewhere) -> None:
    admin = cloud.as_admin
    ann = await cloud.add_user("ann", "blue")
    there = elsewhere(ann.token)
    actor = await cloud.cloud.tokens.validate(ann.token)
    await flip(admin, there, f"{V3}/users/{actor.user_id}", "user")
    await flip(admin, there, f"{V3}/projects/{actor.project_id}", "project")
    assert (await admin.delete(f"{V3}/auth/tokens", headers={"X-Subject-Token": ann.token})).status == 204
    await ends(there)


async def end_by_role(cloud: TestCloud, user: str, project: str) -> None:
    (role,) = (await cloud.as_admin.get(f"{V3}/roles?name=member")).json["roles"]
    await cloud.as_admin.delete(f"{V3}/projects/{project}/users/{user}/roles/{role['id']}")


async def end_by_password(cloud: TestCloud, user: str, _project: str) -> None:
    await cloud.as_admin.patch(f"{V3}/users/{user}", {"user": {"password": "another"}})


async def end_by_deletion(cloud: TestCloud, user: str, _project: str) -> None:
    await cloud.as_admin.delete(f"{V3}/users/{user}")


async def end_by_project(cloud: TestCloud, _user: str, project: str) -> None:
    await cloud.as_admin.delete(f"{V3}/projects/{project}")


@pytest.mark.parametrize("end", [end_by_role, end_by_password, end_by_deletion, end_by_project])
async def test_what_a_token_rests_on(
    cloud: TestCloud, elsewhere: Elsewhere, end: Callable[[TestCloud, str, str], Awaitable[None]]
) -> None:
    ann = await cloud.add_user("ann", "blue")
    there = elsewhere(ann.token)
    actor = await cloud.cloud.tokens.validate(ann.token)
    assert await is_good(there)
    await end(cloud, actor.user_id, actor.project_id)
    await ends(there)


async def test_a_domains_end(cloud: TestCloud, elsewhere: Elsewhere) -> None:
    admin = cloud.as_admin
    domain = (await admin.post(f"{V3}/domains", {"domain": {"name": "far"}})).json["domain"]["id"]
    given = {"user": {"name": "zoe", "password": "pw", "domain_id": domain}}
    user = (await admin.post(f"{V3}/users", given)).json["user"]["id"]
    identity = {"methods": ["password"], "password": {"user": {"id": user, "password": "pw"}}}
    made = await cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": identity}})
    await flip(admin, elsewhere(made.headers["X-Subject-Token"]), f"{V3}/domains/{domain}", "domain")


async def test_a_federated_users_tokens(federation: TestCloud, oidc: OidcServer, elsewhere: Elsewhere) -> None:
    """Unscoped and scoped, by whatever vouches for them: provider, protocol, domain, user, group; and when they are revoked."""
    admin, idp = federation.as_admin, f"{ROOT}/identity_providers/acme"
    group, project = await add_group(federation, "ops", "web", "member")
    made = await bring(federation, oidc.access_token())
    unscoped = made.headers["X-Subject-Token"]
    user = made.json["token"]["user"]
    scoped = (await scope(federation, unscoped, project)).headers["X-Subject-Token"]
    for token in (unscoped, scoped):
        there = elsewhere(token)
        await flip(admin, there, idp, "identity_provider")
        await flip(admin, there, f"{V3}/domains/{user['domain']['id']}", "domain")
        await flip(admin, there, f"{V3}/users/{user['id']}", "user")
    one, both = elsewhere(scoped), elsewhere(unscoped)
    assert await is_good(one) and await is_good(both)
    assert (await admin.delete(f"{V3}/auth/tokens", headers={"X-Subject-Token": scoped})).status == 204
    await ends(one)
    assert await is_good(both)
    again = elsewhere((await scope(federation, unscoped, project)).headers["X-Subject-Token"])
    assert await is_good(again)
    assert (await admin.delete(f"{V3}/groups/{group}")).status == 204
    await ends(again)
    assert await is_good(both), "only what the group gave has gone"
    assert (await admin.delete(AUTH.removesuffix("/auth"))).status == 204
    await ends(both)


async def test_a_federated_users_provider(federation: TestCloud, oidc: OidcServer, elsewhere: Elsewhere) -> None:
    made = await bring(federation, oidc.access_token())
    there = elsewhere(made.headers["X-Subject-Token"])
    assert await is_good(there)
    assert (await federation.as_admin.delete(f"{ROOT}/identity_providers/acme")).status == 204
    await ends(there)
