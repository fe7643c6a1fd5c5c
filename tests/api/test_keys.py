"""Rotation of the Fernet keys."""

from __future__ import annotations

from ostro.services.identity.tokens import KEYS_KEPT
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
