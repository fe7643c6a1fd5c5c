"""Rotation of the Fernet keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from ostro.runtime.world import World
from ostro.services.identity import tokens
from ostro.services.identity.tokens import KEYS_KEPT
from ostro.store.database import Database
from ostro.store.tokens import list_fernet_keys
from ostro.testing.cloud import ADMIN_PASSWORD, TestCloud


async def test_tokens_outlive_rotation_until_their_key_is_dropped(cloud: TestCloud) -> None:
    old = await cloud.login("admin", ADMIN_PASSWORD, "admin")
    headers = {"X-Subject-Token": old.token}
    for _ in range(KEYS_KEPT - 1):
        await cloud.cloud.tokens.rotate()
        new = await cloud.login("admin", ADMIN_PASSWORD, "admin")
        assert (await old.get("/identity/v3/auth/tokens", headers=headers)).status == 200
        assert (await new.get("/identity/v3/auth/tokens", headers=headers)).status == 200
    await cloud.cloud.tokens.rotate()
    assert (await old.get("/identity/v3/auth/tokens", headers=headers)).status == 401
    assert len(await cloud.db.read(list_fernet_keys)) == KEYS_KEPT


async def test_key_made_by_another_process_is_found(
    cloud: TestCloud,
    open_cloud_database: Callable[[World], Database],
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "FRESH_S", 0.0)
    payload = await cloud.cloud.tokens.read(cloud.as_admin.token)
    other_db = open_cloud_database(cloud.world)
    await nursery.start(other_db.serve)
    elsewhere = tokens.Tokens(cloud.world, other_db)
    await elsewhere.rotate()
    token = await elsewhere.issue(payload)
    assert (await cloud.cloud.tokens.read(token)).user_id == payload.user_id
