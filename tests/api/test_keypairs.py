"""Keypairs over HTTP."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ostro.testing.cloud import ApiClient, TestCloud

PATH = "/compute/v2.1/os-keypairs"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2/bVwmFZIBaXJWOnGgCtLnK4pZ0dkWGRHkRR5Fn7yV me@here"


def at(client: ApiClient, version: str) -> ApiClient:
    return client.with_headers(X_OpenStack_Nova_API_Version=version)


async def test_import_show_list_delete(cloud: TestCloud) -> None:
    client = at(cloud.as_admin, "2.2")
    answer = await client.post(PATH, {"keypair": {"name": "k", "public_key": ED25519, "type": "ssh"}})
    assert answer.status == 201
    keypair = answer.json["keypair"]
    assert (keypair["type"], keypair["public_key"]) == ("ssh", ED25519)
    assert len(keypair["fingerprint"].split(":")) == 16 and "private_key" not in keypair
    assert (await client.post(PATH, {"keypair": {"name": "k"}})).status == 409
    assert (await client.post(PATH, {"keypair": {"name": "bad", "public_key": "ssh-rsa nonsense"}})).status == 400
    assert (await client.post(PATH, {"keypair": {"name": "a/b"}})).status == 400
    shown = (await client.get(f"{PATH}/k")).json["keypair"]
    assert (shown["deleted"], shown["name"]) == (False, "k")
    assert [k["keypair"]["name"] for k in (await client.get(PATH)).json["keypairs"]] == ["k"]
    assert (await client.delete(f"{PATH}/k")).status == 204
    assert (await client.delete(f"{PATH}/k")).status == 404


async def test_made_here_and_handed_out_once(cloud: TestCloud) -> None:
    answer = await cloud.as_admin.post(PATH, {"keypair": {"name": "k"}})
    assert answer.status == 200
    keypair = answer.json["keypair"]
    assert "type" not in keypair
    private = serialization.load_pem_private_key(keypair["private_key"].encode(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert keypair["public_key"].startswith(public.decode())
    assert "private_key" not in (await cloud.as_admin.get(f"{PATH}/k")).json["keypair"]
    assert (await cloud.as_admin.delete(f"{PATH}/k")).status == 202


async def test_x509(cloud: TestCloud) -> None:
    answer = await at(cloud.as_admin, "2.2").post(PATH, {"keypair": {"name": "w", "type": "x509"}})
    certificate = x509.load_pem_x509_certificate(answer.json["keypair"]["public_key"].encode())
    assert len(answer.json["keypair"]["fingerprint"].split(":")) == 20
    assert certificate.issuer == certificate.subject


async def test_from_2_92_a_public_key_is_needed(cloud: TestCloud) -> None:
    assert (await at(cloud.as_admin, "2.92").post(PATH, {"keypair": {"name": "k"}})).status == 400
    answer = await at(cloud.as_admin, "2.92").post(PATH, {"keypair": {"name": "a@b.c", "public_key": ED25519}})
    assert answer.status == 201


async def test_keypairs_are_per_user(cloud: TestCloud) -> None:
    ann, bob = await cloud.add_user("ann", "alpha"), await cloud.add_user("bob", "alpha")
    await ann.post(PATH, {"keypair": {"name": "k", "public_key": ED25519}})
    assert (await bob.get(f"{PATH}/k")).status == 404
    assert (await bob.get(PATH)).json["keypairs"] == []
    user_id = (await ann.get(f"{PATH}/k")).json["keypair"]["user_id"]
    assert (await at(bob, "2.10").get(f"{PATH}?user_id={user_id}")).status == 403
    assert len((await at(cloud.as_admin, "2.10").get(f"{PATH}?user_id={user_id}")).json["keypairs"]) == 1


async def test_pages(cloud: TestCloud) -> None:
    client = at(cloud.as_admin, "2.35")
    for name in ("a", "b", "c"):
        await client.post(PATH, {"keypair": {"name": name, "public_key": ED25519, "type": "ssh"}})
    first = (await client.get(f"{PATH}?limit=2")).json
    assert [k["keypair"]["name"] for k in first["keypairs"]] == ["a", "b"]
    assert "marker=b" in first["keypairs_links"][0]["href"]
    assert [k["keypair"]["name"] for k in (await client.get(f"{PATH}?marker=b")).json["keypairs"]] == ["c"]
