"""Ways to log in over HTTP, and what stands in the way of guessing: lockout, history, expiry, several factors."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import bcrypt
import msgspec
import pytest

from ostro.services.identity.compliance import Compliance
from ostro.services.identity.totp import STEP_S, make_passcode
from ostro.services.sweeps import forget_logins
from ostro.store.users import FAILURES, USERS
from ostro.testing.cloud import Answer, TestCloud

V3 = "/identity/v3"
TOKENS = f"{V3}/auth/tokens"


async def make_user(cloud: TestCloud, **more: Any) -> str:
    user = {"name": "ann", "password": "first", **more}
    answer = await cloud.as_admin.post(f"{V3}/users", {"user": user})
    assert answer.status == 201, answer.body
    return str(answer.json["user"]["id"])


async def login(cloud: TestCloud, user_id: str, password: str, **more: Any) -> Answer:
    identity: dict[str, Any] = {"methods": ["password", *more]}
    identity["password"] = {"user": {"id": user_id, "password": password}}
    return await cloud.anonymous.post(TOKENS, {"auth": {"identity": {**identity, **more}}})


async def change(cloud: TestCloud, user_id: str, old: str, new: str) -> int:
    body = {"user": {"original_password": old, "password": new}}
    return (await cloud.anonymous.post(f"{V3}/users/{user_id}/password", body)).status


def demand(cloud: TestCloud, **more: Any) -> None:
    """Set the operator's rules."""
    cloud.cloud.tokens.compliance = Compliance(**more)


async def age_failures(cloud: TestCloud) -> None:
    """Let the lockout pass."""
    await cloud.db.run(lambda tx: tx.execute("UPDATE login_failures SET last_at_us = last_at_us - 3600000000"))


async def test_two_wrong_passwords_lock_out_for_a_while(cloud: TestCloud) -> None:
    user = await make_user(cloud)
    wrong = [await login(cloud, user, "wrong") for _ in range(2)]
    locked = await login(cloud, user, "first")
    assert {answer.status for answer in (*wrong, locked)} == {401}
    assert len({answer.body for answer in (*wrong, locked)}) == 1, "a lockout looks like a wrong password"
    await age_failures(cloud)
    assert (await login(cloud, user, "first")).status == 201
    assert await cloud.db.read(lambda tx: FAILURES.count(tx)) == 0
    await login(cloud, user, "wrong")
    assert (await login(cloud, user, "first")).status == 201, "one is forgiven"


async def test_somebody_unknown_is_refused_alike(cloud: TestCloud) -> None:
    """No enumeration of users: the same answer, the same work, the same rows."""
    user = await make_user(cloud)
    known, unknown = await login(cloud, user, "wrong"), await login(cloud, "0" * 32, "wrong")
    assert (known.status, known.body) == (unknown.status, unknown.body)
    assert await cloud.db.read(lambda tx: FAILURES.count(tx)) == 2


async def test_whoever_may_not_be_locked_out(cloud: TestCloud) -> None:
    user = await make_user(cloud, options={"ignore_lockout_failure_attempts": True})
    for _ in range(3):
        await login(cloud, user, "wrong")
    assert (await login(cloud, user, "first")).status == 201


async def test_old_passwords_can_not_be_taken_again(cloud: TestCloud) -> None:
    user = await make_user(cloud)
    assert await change(cloud, user, "first", "second") == 204
    assert await change(cloud, user, "second", "second") == 400
    assert await change(cloud, user, "second", "first") == 400
    assert await change(cloud, user, "wrong", "third") == 401
    assert await change(cloud, user, "second", "third") == 204
    assert await change(cloud, user, "third", "first") == 204, "two are remembered"


async def test_a_password_expires_and_can_still_be_changed(cloud: TestCloud) -> None:
    user = await make_user(cloud)
    demand(cloud, password_expires_days=1)
    shown = await cloud.as_admin.get(f"{V3}/users/{user}")
    assert shown.json["user"]["password_expires_at"] is not None
    assert (await login(cloud, user, "first")).json["token"]["user"]["password_expires_at"] is not None
    await cloud.db.run(lambda tx: USERS.update(tx, user, password_set_at_us=1))
    expired = await login(cloud, user, "first")
    assert expired.status == 401 and "expired" in expired.json["error"]["message"]
    assert "expired" not in (await login(cloud, user, "wrong")).json["error"]["message"]
    assert await change(cloud, user, "first", "second") == 204
    assert (await login(cloud, user, "second")).status == 201


async def test_a_password_that_somebody_else_chose(cloud: TestCloud) -> None:
    demand(cloud, change_password_upon_first_use=True)
    user = await make_user(cloud)
    assert (await login(cloud, user, "first")).status == 401
    assert await change(cloud, user, "first", "second") == 204
    assert (await login(cloud, user, "second")).status == 201


async def test_rules_of_strength_and_age(cloud: TestCloud) -> None:
    demand(cloud, password_regex=r"^(?=.*\d).{7,}$", password_regex_description="a digit", minimum_password_age=1)
    weak = await cloud.as_admin.post(f"{V3}/users", {"user": {"name": "bob", "password": "weak"}})
    assert weak.status == 400 and "a digit" in weak.json["error"]["message"]
    user = await make_user(cloud, password="strong 1")
    assert await change(cloud, user, "strong 1", "weak") == 400
    assert await change(cloud, user, "strong 1", "strong 2") == 204
    assert await change(cloud, user, "strong 2", "strong 3") == 400, "it is too young"


async def test_a_locked_password(cloud: TestCloud) -> None:
    user = await make_user(cloud, options={"lock_password": True})
    assert await change(cloud, user, "first", "second") == 403


def scrypt_of(password: str) -> str:
    def plain(data: bytes) -> str:
        return base64.b64encode(data).decode().rstrip("=").replace("+", ".")

    digest = hashlib.scrypt(password.encode(), salt=b"salt", n=16, r=8, p=1, dklen=32)
    return f"$scrypt$ln=4,r=8,p=1${plain(b'salt')}${plain(digest)}"


@pytest.mark.parametrize(
    "make", [lambda p: bcrypt.hashpw(p.encode(), bcrypt.gensalt(4)).decode(), scrypt_of], ids=["bcrypt", "scrypt"]
)
async def test_keystones_hashes_are_taken_and_replaced(cloud: TestCloud, make: Any) -> None:
    user = await make_user(cloud)
    await cloud.db.run(lambda tx: USERS.update(tx, user, password_hash=make("imported")))
    assert (await login(cloud, user, "first")).status == 401
    answer = await login(cloud, user, "imported")
    assert answer.status == 201
    row = await cloud.db.read(lambda tx: USERS.get(tx, user))
    assert row.password_hash.startswith("$argon2id$")
    assert (await login(cloud, user, "imported")).status == 201
    token = answer.headers["X-Subject-Token"]
    assert (await cloud.as_admin.get(TOKENS, headers={"X-Subject-Token": token})).status == 200, "tokens stay good"


async def test_several_factors_by_receipt(cloud: TestCloud) -> None:
    user = await make_user(cloud)
    secret = b"12345678901234567890"
    blob = {"type": "totp", "blob": base64.b32encode(secret).decode(), "user_id": user}
    assert (await cloud.as_admin.post(f"{V3}/credentials", {"credential": blob})).status == 201
    passcode = make_passcode(secret, cloud.world.now_us() // 1_000_000 // STEP_S)
    totp = {"user": {"id": user, "passcode": passcode}}
    alone = {"auth": {"identity": {"methods": ["totp"], "totp": totp}}}
    assert (await cloud.anonymous.post(TOKENS, alone)).json["token"]["methods"] == ["totp"]
    rules = [["password", "totp"], ["password", "no-such-method"]]
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": rules}
    changed = await cloud.as_admin.patch(f"{V3}/users/{user}", {"user": {"options": options}})
    assert changed.json["user"]["options"] == options

    first = await login(cloud, user, "first")
    assert first.status == 401
    assert first.json["required_auth_methods"] == [["password", "totp"]]
    assert first.json["receipt"]["methods"] == ["password"]
    receipt = {"Openstack-Auth-Receipt": first.headers["Openstack-Auth-Receipt"]}
    second = await cloud.anonymous.post(TOKENS, alone, headers=receipt)
    assert second.status == 201 and set(second.json["token"]["methods"]) == {"password", "totp"}
    both = await login(cloud, user, "first", totp=totp)
    assert both.status == 201
    as_token = {"X-Subject-Token": first.headers["Openstack-Auth-Receipt"]}
    assert (await cloud.as_admin.get(TOKENS, headers=as_token)).status == 404, "a receipt is no token"
    as_receipt = {"Openstack-Auth-Receipt": second.headers["X-Subject-Token"]}
    assert (await cloud.anonymous.post(TOKENS, alone, headers=as_receipt)).status == 401, "a token is no receipt"
    wrong = {"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"id": user, "passcode": "000000"}}}}}
    assert (await cloud.anonymous.post(TOKENS, wrong, headers=receipt)).status == 401


async def test_a_token_that_is_worth_nothing_is_not_found_when_it_is_to_be_exchanged(cloud: TestCloud) -> None:
    body = {"auth": {"identity": {"methods": ["token"], "token": {"id": "rubbish"}}}}
    assert (await cloud.anonymous.post(TOKENS, body)).status == 404


async def test_what_a_token_shows(cloud: TestCloud) -> None:
    subject = {"X-Subject-Token": cloud.as_admin.token}
    full = (await cloud.as_admin.get(TOKENS, headers=subject)).json["token"]
    assert full["catalog"] and full["user"]["password_expires_at"] is None
    assert "catalog" not in (await cloud.as_admin.get(f"{TOKENS}?nocatalog", headers=subject)).json["token"]
    assert (await cloud.as_admin.request("HEAD", TOKENS, headers=subject)).status == 200
    ann = await cloud.add_user("ann", "blue")
    assert (await ann.get(TOKENS, headers=subject)).status == 403
    assert (await ann.request("HEAD", TOKENS, headers=subject)).status == 403
    assert (await ann.get(TOKENS, headers={"X-Subject-Token": ann.token})).status == 200


async def test_revocations_are_told(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    token = (await ann.get(TOKENS, headers={"X-Subject-Token": ann.token})).json["token"]
    await ann.delete(TOKENS, headers={"X-Subject-Token": ann.token})
    events = (await cloud.as_admin.get(f"{V3}/OS-REVOKE/events")).json["events"]
    assert [event["audit_id"] for event in events] == token["audit_ids"]
    assert (await cloud.as_admin.get(f"{V3}/OS-REVOKE/events?since=2999-01-01T00:00:00Z")).json["events"] == []
    assert (await cloud.as_admin.get(f"{V3}/OS-REVOKE/events?since=yesterday")).status == 400


async def test_what_locks_nobody_out_any_more_is_forgotten(cloud: TestCloud) -> None:
    await login(cloud, "0" * 32, "wrong")
    await forget_logins(cloud.cloud)
    assert await cloud.db.read(lambda tx: FAILURES.count(tx)) == 1
    await age_failures(cloud)
    await forget_logins(cloud.cloud)
    assert await cloud.db.read(lambda tx: FAILURES.count(tx)) == 0


def test_the_operators_file() -> None:
    assert msgspec.convert({"lockout_duration": 60}, Compliance).lockout_duration == 60
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"lockout": 1}, Compliance)
