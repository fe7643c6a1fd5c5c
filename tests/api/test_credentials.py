"""Credentials over HTTP: sealed at rest, one's own only, and exchanged for tokens by services."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

from ostro.store.credentials import CREDENTIALS
from ostro.testing.cloud import ApiClient, TestCloud

V3 = "/identity/v3"
PATH = f"{V3}/credentials"


async def whoami(client: ApiClient) -> dict[str, Any]:
    token = await client.get(f"{V3}/auth/tokens?nocatalog", headers={"X-Subject-Token": client.token})
    out: dict[str, Any] = token.json["token"]
    return out


async def test_a_secret_is_kept_sealed(cloud: TestCloud) -> None:
    ann, bob = await cloud.add_user("ann", "blue"), await cloud.add_user("bob", "blue")
    me = (await whoami(ann))["user"]["id"]
    given = {"credential": {"type": "cert", "blob": "hush-hush", "user_id": me, "colour": "red"}}
    created = await ann.post(PATH, given)
    assert created.status == 201
    one = created.json["credential"]
    assert (one["blob"], one["user_id"], one["project_id"], one["colour"]) == ("hush-hush", me, None, "red")
    (row,) = await cloud.db.read(lambda tx: CREDENTIALS.list(tx))
    assert "hush" not in row.sealed_blob
    assert (await ann.get(PATH)).json["credentials"] == [one]
    assert (await bob.get(PATH)).json["credentials"] == []
    assert (await bob.get(f"{PATH}/{one['id']}")).status == 403
    assert (await bob.post(PATH, given)).status == 403, "nobody makes another's"
    assert (await cloud.as_admin.get(f"{PATH}?user_id={me}&type=cert")).json["credentials"] == [one]
    changed = await ann.patch(f"{PATH}/{one['id']}", {"credential": {"blob": "new"}})
    assert changed.json["credential"]["blob"] == "new"
    other = (await whoami(bob))["user"]["id"]
    stolen = {"credential": {"user_id": other}}
    assert (await ann.patch(f"{PATH}/{one['id']}", stolen)).status == 403, "CVE-2020-12691: not to another user"
    assert (await ann.delete(f"{PATH}/{one['id']}")).status == 204
    assert (await ann.get(f"{PATH}/{one['id']}")).status == 403
    assert (await cloud.as_admin.get(f"{PATH}/{one['id']}")).status == 404


async def test_ec2_blobs_are_looked_at(cloud: TestCloud) -> None:
    for blob, more in (("no json", {"project_id": "x"}), ("{}", {"project_id": "x"}), ('{"access": "a"}', {})):
        body = {"credential": {"type": "ec2", "blob": blob, **more}}
        assert (await cloud.as_admin.post(PATH, body)).status == 400


async def make_keys(client: ApiClient) -> dict[str, Any]:
    me = await whoami(client)
    path = f"{V3}/users/{me['user']['id']}/credentials/OS-EC2"
    created = await client.post(path, {"tenant_id": me["project"]["id"]})
    assert created.status == 201, created.body
    keys: dict[str, Any] = created.json["credential"]
    assert (await client.get(f"{path}/{keys['access']}")).json["credential"] == keys
    assert [line["access"] for line in (await client.get(path)).json["credentials"]] == [keys["access"]]
    return keys


def sign(keys: dict[str, Any], **more: Any) -> dict[str, Any]:
    params = {
        "Action": "Test",
        "AWSAccessKeyId": keys["access"],
        "SignatureVersion": "2",
        "SignatureMethod": "HmacSHA256",
    }
    query = "&".join(f"{k}={v}" for k, v in sorted(params.items()))
    text = f"GET\nlocalhost\n/\n{query}"
    signature = base64.b64encode(hmac.digest(keys["secret"].encode(), text.encode(), hashlib.sha256)).decode()
    given = {"access": keys["access"], "host": "localhost", "verb": "GET", "path": "/", "params": params}
    return {"credentials": {**given, "signature": signature, **more}}


async def test_a_signature_is_a_token_for_services_only(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    keys = await make_keys(ann)
    answer = await cloud.as_admin.post(f"{V3}/ec2tokens", sign(keys))
    assert answer.status == 200, answer.body
    token = answer.json["token"]
    assert token["user"]["name"] == "ann" and token["project"]["name"] == "blue"
    as_ann = ApiClient(cloud.app, answer.headers["X-Subject-Token"])
    assert (await as_ann.get("/networking/v2.0/networks")).status == 200
    assert (await cloud.as_admin.post(f"{V3}/ec2tokens", sign(keys, signature="wrong"))).status == 401
    assert (await cloud.as_admin.post(f"{V3}/ec2tokens", sign(keys, path="/other"))).status == 401
    unknown = {"access": "0" * 32, "secret": "0" * 32}
    assert (await cloud.as_admin.post(f"{V3}/ec2tokens", sign(unknown))).status == 401
    assert (await cloud.as_admin.post(f"{V3}/ec2tokens", {})).status == 400
    assert (await cloud.anonymous.post(f"{V3}/ec2tokens", sign(keys))).status == 401, "CVE-2025-65073"
    assert (await ann.post(f"{V3}/ec2tokens", sign(keys))).status == 403, "CVE-2025-65073"


async def test_keys_are_worth_the_roles_there_and_are_ones_own(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    me = await whoami(ann)
    (admins,) = (await cloud.as_admin.get(f"{V3}/projects?name=admin")).json["projects"]
    path = f"{V3}/users/{me['user']['id']}/credentials/OS-EC2"
    keys = await make_keys(ann)
    elsewhere = (await ann.post(path, {"tenant_id": admins["id"]})).json["credential"]
    assert (await cloud.as_admin.post(f"{V3}/ec2tokens", sign(elsewhere))).status == 401, "no role there"
    bob = await cloud.add_user("bob", "blue")
    assert (await bob.get(f"{path}/{keys['access']}")).status == 403
    assert (await bob.delete(f"{path}/{keys['access']}")).status == 403
    assert (await ann.delete(f"{path}/{keys['access']}")).status == 204
    assert (await ann.get(f"{path}/{keys['access']}")).status == 404


def sign_s3(keys: dict[str, Any], to_sign: bytes, signature: str) -> dict[str, Any]:
    token = base64.urlsafe_b64encode(to_sign).decode()
    return {"credentials": {"access": keys["access"], "token": token, "signature": signature}}


async def test_s3_signatures_likewise(cloud: TestCloud) -> None:
    """Version 2's and version 4's, as Swift's middleware hands them over."""
    ann = await cloud.add_user("ann", "blue")
    keys = await make_keys(ann)
    secret, path = keys["secret"].encode(), f"{V3}/s3tokens"
    plain = b"GET\n\n\nThu, 01 Jan 2026 00:00:00 GMT\n/bucket/key"
    old_way = base64.b64encode(hmac.digest(secret, plain, hashlib.sha1)).decode()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(cloud.world.now_us() / 1e6))
    scope = f"{stamp[:8]}/RegionOne/s3/aws4_request"
    newer = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{'0' * 64}".encode()
    key = b"AWS4" + secret
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    new_way = hmac.digest(key, newer, hashlib.sha256).hex()
    for to_sign, signature in ((plain, old_way), (newer, new_way)):
        given = sign_s3(keys, to_sign, signature)
        answer = await cloud.as_admin.post(path, given)
        assert answer.status == 200, answer.body
        token = answer.json["token"]
        assert token["user"]["name"] == "ann" and token["project"]["name"] == "blue"
        assert (await cloud.as_admin.post(path, sign_s3(keys, to_sign + b"x", signature))).status == 401
        assert (await cloud.as_admin.post(path, sign_s3({"access": "0" * 32}, to_sign, signature))).status == 401
        assert (await cloud.anonymous.post(path, given)).status == 401, "CVE-2025-65073"
        assert (await ann.post(path, given)).status == 403, "CVE-2025-65073"
    late = newer.replace(stamp.encode(), b"20200101T000000Z")
    assert (await cloud.as_admin.post(path, sign_s3(keys, late, new_way))).status == 401
