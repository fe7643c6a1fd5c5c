"""Join tokens and certificates' rows, on both engines; what is signed; the secrets that controllers share."""

from __future__ import annotations

import random

import pytest
import trio
from cryptography import x509

from ostro.model.context import NOBODY, Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound, OstroError, Unauthenticated
from ostro.runtime.certificates import CONTROLLER_NAME, Authority, Issued, fingerprint, make_request, new_key
from ostro.runtime.world import World
from ostro.services.agents.joining import (
    Speaker,
    check_certificate,
    create_token,
    list_tokens,
    redeem_token,
    revoke_token,
)
from ostro.services.controllers import Shared, load_shared
from ostro.store.database import Database
from ostro.store.joining import forget_joining

NOW_US = 1_700_000_000_000_000
HOUR_S = 3600.0
IDS = random.Random(7)


def context(after_s: float = 0.0) -> Context:
    return Context(NOBODY, "req-1", NOW_US + int(after_s * 1e6), IDS)


async def redeem(db: Database, secret: str, name: str, key: str, after_s: float = 0.0) -> Speaker:
    """Join; who the host is from then on."""
    serial = f"{IDS.getrandbits(64):x}"
    now = context(after_s)
    await db.run(redeem_token, now, secret, name, Issued("pem", serial, now.now_us + int(10 * HOUR_S * 1e6)), key)
    return Speaker(name=name, serial=serial)


async def is_good(db: Database, speaker: Speaker, after_s: float = 0.0) -> bool:
    try:
        await db.read(check_certificate, context(after_s), speaker)
    except Unauthenticated:
        return False
    return True


async def test_a_token_lets_so_many_in_for_so_long(db: Database) -> None:
    token = await db.run(create_token, context(), "secret", expires_s=HOUR_S, uses=2)
    assert "secret" not in str(token)
    assert [found.id for found in await db.read(list_tokens, context())] == [token.id]
    first = await redeem(db, "secret", "a", "key-a")
    await redeem(db, "secret", "b", "key-b", HOUR_S - 1)
    assert await db.read(list_tokens, context()) == []
    with pytest.raises(Unauthenticated):
        await redeem(db, "secret", "c", "key-c")
    again = await redeem(db, "secret", "a", "key-a")
    assert await is_good(db, first) and await is_good(db, again)
    assert not await is_good(db, Speaker(name="b", serial=first.serial))
    assert not await is_good(db, first, 11 * HOUR_S)
    await db.run(create_token, context(), "later", expires_s=HOUR_S, uses=1)
    for secret, after_s in (("later", HOUR_S), ("wrong", 0.0)):
        with pytest.raises(Unauthenticated):
            await redeem(db, secret, "d", "key-d", after_s)


async def test_of_many_that_use_the_last_use_at_once_one_gets_in(db: Database) -> None:
    await db.run(create_token, context(), "secret", expires_s=HOUR_S, uses=3)
    outcomes: list[str] = []

    async def join(number: int) -> None:
        try:
            await redeem(db, "secret", f"host-{number}", f"key-{number}")
            outcomes.append("in")
        except OstroError as error:
            outcomes.append(type(error).__name__)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(join, number)
    assert sorted(outcomes) == ["Unauthenticated"] * 9 + ["in"] * 3


async def test_a_host_is_replaced_only_by_a_token_of_its_name(db: Database) -> None:
    await db.run(create_token, context(), "any", expires_s=HOUR_S, uses=5)
    old = await redeem(db, "any", "a", "key-1")
    with pytest.raises(Conflict, match="ostro token create --host a"):
        await redeem(db, "any", "a", "key-2")
    await db.run(create_token, context(), "own", expires_s=HOUR_S, uses=1, host_name="a")
    with pytest.raises(Forbidden):
        await redeem(db, "own", "b", "key-2")
    new = await redeem(db, "own", "a", "key-2")
    assert await is_good(db, new) and not await is_good(db, old)


async def test_names_are_one_in_upper_and_lower_case(db: Database) -> None:
    """Where hosts check each other's certificates, they are: nobody may get a second one of a name by writing it otherwise."""
    await db.run(create_token, context(), "any", expires_s=HOUR_S, uses=5)
    old = await redeem(db, "any", "host-a", "key-1")
    with pytest.raises(Conflict, match="There is a host HOST-A"):
        await redeem(db, "any", "HOST-A", "key-2")
    assert await is_good(db, Speaker(name="Host-A", serial=old.serial))
    assert await is_good(db, await redeem(db, "any", "Host-A", "key-1")), "the same key by the same token is the same"
    await db.run(create_token, context(), "own", expires_s=HOUR_S, uses=1, host_name="HOST-a")
    new = await redeem(db, "own", "host-A", "key-2")
    assert await is_good(db, new) and not await is_good(db, old)


async def test_a_revoked_token_lets_nobody_in(db: Database) -> None:
    token = await db.run(create_token, context(), "secret", expires_s=HOUR_S, uses=9)
    host = await redeem(db, "secret", "a", "key-a")
    await db.run(revoke_token, context(), token.id)
    with pytest.raises(NotFound):
        await db.run(revoke_token, context(), token.id)
    with pytest.raises(Unauthenticated):
        await redeem(db, "secret", "b", "key-b")
    assert await is_good(db, host)
    await db.run(forget_joining, NOW_US + int(20 * HOUR_S * 1e6))
    assert not await is_good(db, host)


@pytest.mark.parametrize("bad", [{"uses": 0}, {"expires_s": 0.0}, {"expires_s": 1e9}, {"host_name": "../x"}])
async def test_what_no_token_can_be(db: Database, bad: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        await db.run(create_token, context(), "s", **{"expires_s": 60.0, "uses": 1, **bad})  # type: ignore[arg-type]


def test_what_is_signed() -> None:
    authority = Authority.make("cloud", NOW_US)
    key = new_key()
    issued, _digest = authority.sign_host(make_request(key, "someone-else"), "host-a", NOW_US, 60.0)
    cert = x509.load_pem_x509_certificate(issued.pem.encode())
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.cert_pem.encode()))
    assert "CN=host-a" in cert.subject.rfc4514_string(), "the name that was let in, not the one asked for"
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host-a"]
    assert issued.expires_at_us == NOW_US + 60_000_000
    for name in ("", "a b", "-a", "a/b", CONTROLLER_NAME, CONTROLLER_NAME.upper(), "a" * 64):
        with pytest.raises(Invalid):
            authority.sign_host(make_request(key, "x"), name, NOW_US, 60.0)


async def test_controllers_share_secrets_that_the_store_does_not_tell(db: Database) -> None:
    found: list[Shared] = []

    async def load(seed: int) -> None:
        found.append(await load_shared(World(random=random.Random(seed)), db, "cluster secret"))

    async with trio.open_nursery() as nursery:
        for seed in range(4):
            nursery.start_soon(load, seed)
    assert len({(s.cloud_id, s.agent_key, s.credential_keys, fingerprint(s.authority.cert_pem)) for s in found}) == 1
    rows = await db.read(lambda tx: tx.all("SELECT name, sealed FROM secrets"))
    assert len(rows) == 1 and found[0].agent_key not in str(rows) and "PRIVATE" not in str(rows)
    with pytest.raises(Conflict):
        await load_shared(World(random=random.Random(9)), db, "another secret")
