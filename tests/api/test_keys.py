"""Rotation of the Fernet keys."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest
import trio
from cryptography.fernet import Fernet, InvalidToken
from trio.testing import MockClock

from ostro.model.errors import Unauthenticated
from ostro.runtime.world import World
from ostro.services.identity import tokens
from ostro.services.identity.tokens import KEYS_KEPT
from ostro.store.database import Database
from ostro.store.migrate import migrate
from ostro.store.tokens import FernetKey, list_fernet_keys
from ostro.testing.clock import VirtualClock
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


async def test_rotation_fails_no_call_of_another_process(
    open_cloud_database: Callable[[World], Database], nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    """Though the other one has read its keys a moment ago, and hears of nothing: what each issues the other reads, before, during and after."""
    clock = VirtualClock(mock_clock)
    worlds = [World(clock=clock, random=random.Random(seed)) for seed in (1, 2)]
    databases = [open_cloud_database(world) for world in worlds]
    for database in databases:
        await nursery.start(database.serve)
    await migrate(databases[0])
    one, other = (tokens.Tokens(*pair) for pair in zip(worlds, databases, strict=True))
    payload = tokens.Payload("u", ("password",), "", "", False, clock.now_us(), clock.now_us() + 10**12, ("a",))
    keys = set()
    for step_s in (0.0, 0.0, tokens.SETTLE_US / 1e6 - 0.1, 0.2, 1.0):
        mock_clock.jump(step_s)
        for writer, reader in ((one, other), (other, one)):
            token = await writer.issue(payload)
            assert await reader.read(token) == payload, f"{step_s} s later"
            keys.add(signer_of(token, await databases[0].read(list_fernet_keys)))
        if step_s == 0.0:
            await one.rotate()
    assert len(keys) > 1, "a new key signs in the end"


async def test_a_process_that_hears_of_nothing_takes_up_a_new_key_within_a_minute(
    open_cloud_database: Callable[[World], Database], nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    """As ``ostro manage rotate-keys`` beside a cloud on SQLite; a key that was dropped is no good any more either."""
    worlds = [World(clock=VirtualClock(mock_clock), random=random.Random(seed)) for seed in (1, 2)]
    databases = [open_cloud_database(world) for world in worlds]
    for database in databases:
        await nursery.start(database.serve)
    await migrate(databases[0])
    one, other = (tokens.Tokens(*pair) for pair in zip(worlds, databases, strict=True))
    now_us = worlds[0].now_us()
    payload = tokens.Payload("u", ("password",), "", "", False, now_us, now_us + 10**12, ("a",))
    old = await one.issue(payload)
    for _ in range(KEYS_KEPT):
        await other.rotate()
    mock_clock.jump(tokens.KEYS_FRESH_S)
    keys = await databases[0].read(list_fernet_keys)
    assert signer_of(await one.issue(payload), keys) == keys[0].key
    with pytest.raises(Unauthenticated):
        await one.read(old)


def signer_of(token: str, keys: list[FernetKey]) -> str:
    """The key that a token was signed with."""
    for key in keys:
        with contextlib.suppress(InvalidToken):
            Fernet(key.key).decrypt(token + "=" * (-len(token) % 4))
            return key.key
    raise AssertionError("no key reads it")


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
