"""OAuth 1.0a and OAuth 2.0 over HTTP."""

from __future__ import annotations

import base64
import time
from typing import Any
from urllib.parse import parse_qs, quote

from ostro.services.identity.oauth1 import Signed, sign
from ostro.testing.cloud import Answer, ApiClient, TestCloud

V3 = "/identity/v3"
ROOT = f"{V3}/OS-OAUTH1"


class Consumer:
    """A program that signs its requests."""

    def __init__(self, cloud: TestCloud, given: dict[str, Any]) -> None:
        self.cloud = cloud
        self.id, self.secret = given["id"], given["secret"]
        self.token: tuple[str, str] = ("", "")
        self.count = 0

    def headers(self, path: str, **more: str) -> dict[str, str]:
        self.count += 1
        fields = {
            "oauth_consumer_key": self.id,
            "oauth_nonce": f"n{self.count}",
            "oauth_signature_method": "HMAC-SHA1",
            "oauth_timestamp": str(int(time.time())),
            **({"oauth_token": self.token[0]} if self.token[0] else {}),
            **more,
        }
        signature = sign(Signed("POST", f"http://localhost{path}", "", fields), self.secret, self.token[1])
        shown = ", ".join(f'{k}="{quote(v, safe="")}"' for k, v in {**fields, "oauth_signature": signature}.items())
        return {"Authorization": f"OAuth {shown}"}

    async def post(self, path: str, json: Any = None, headers: dict[str, str] | None = None, **more: str) -> Answer:
        return await self.cloud.anonymous.post(path, json, headers={**self.headers(path, **more), **(headers or {})})

    def take(self, answer: Answer) -> None:
        """Sign with the token of an answer from now on."""
        assert answer.status == 201, answer.body
        form = parse_qs(answer.body.decode())
        self.token = form["oauth_token"][0], form["oauth_token_secret"][0]

    async def login(self) -> Answer:
        body = {"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}
        return await self.post(f"{V3}/auth/tokens", body)


async def make_consumer(cloud: TestCloud) -> Consumer:
    created = await cloud.as_admin.post(f"{ROOT}/consumers", {"consumer": {"description": "a robot", "colour": "red"}})
    assert created.status == 201
    return Consumer(cloud, created.json["consumer"])


async def test_consumers(cloud: TestCloud) -> None:
    consumer = await make_consumer(cloud)
    one = f"{ROOT}/consumers/{consumer.id}"
    shown = (await cloud.as_admin.get(one)).json["consumer"]
    assert (shown["description"], shown["colour"]) == ("a robot", "red") and "secret" not in shown
    changed = await cloud.as_admin.patch(one, {"consumer": {"description": "b"}})
    assert changed.json["consumer"]["description"] == "b"
    assert (await cloud.as_admin.patch(one, {"consumer": {"secret": "x"}})).status == 400
    assert len((await cloud.as_admin.get(f"{ROOT}/consumers")).json["consumers"]) == 1
    assert (await cloud.as_admin.delete(one)).status == 204
    assert (await cloud.as_admin.get(one)).status == 404


async def test_the_whole_dance(cloud: TestCloud) -> None:
    consumer = await make_consumer(cloud)
    (project,) = (await cloud.as_admin.get(f"{V3}/projects?name=admin")).json["projects"]
    wanted = {"Requested-Project-Id": project["id"]}
    path = f"{ROOT}/request_token"
    assert (await consumer.post(path)).status == 400
    replayed = {**consumer.headers(path), **wanted}
    answer = await cloud.anonymous.post(path, headers=replayed)
    assert (await cloud.anonymous.post(path, headers=replayed)).status == 401, "a nonce is good once"
    old = await consumer.post(path, headers=wanted, oauth_timestamp="1000000000")
    assert old.status == 401
    forged = Consumer(cloud, {"id": consumer.id, "secret": "guess"})
    assert (await forged.post(path, headers=wanted)).status == 401
    consumer.take(answer)

    refused = await consumer.post(f"{ROOT}/access_token", oauth_verifier="guess")
    assert refused.status == 401, "nobody has authorized it"
    body = {"roles": [{"name": "reader"}]}
    ann = await cloud.add_user("ann", "blue")
    assert (await ann.put(f"{ROOT}/authorize/{consumer.token[0]}", body)).status == 403
    assert (await cloud.as_admin.put(f"{ROOT}/authorize/{consumer.token[0]}", {"roles": [{"name": "x"}]})).status == 404
    authorized = await cloud.as_admin.put(f"{ROOT}/authorize/{consumer.token[0]}", body)
    verifier = authorized.json["token"]["oauth_verifier"]
    assert (await consumer.post(f"{ROOT}/access_token", oauth_verifier="guess")).status == 401
    consumer.take(await consumer.post(f"{ROOT}/access_token", oauth_verifier=verifier))

    token = await consumer.login()
    assert token.status == 201, token.body
    shown = token.json["token"]
    assert [role["name"] for role in shown["roles"]] == ["reader"]
    assert shown["project"]["id"] == project["id"] and shown["OS-OAUTH1"]["consumer_id"] == consumer.id
    client = ApiClient(cloud.app, token.headers["X-Subject-Token"])
    assert (await client.get("/networking/v2.0/networks")).status == 200
    again = {"auth": {"identity": {"methods": ["token"], "token": {"id": client.token}}}}
    assert (await cloud.anonymous.post(f"{V3}/auth/tokens", again)).status == 403

    own = f"{V3}/users/{shown['user']['id']}/OS-OAUTH1/access_tokens"
    (given,) = (await cloud.as_admin.get(own)).json["access_tokens"]
    roles = (await cloud.as_admin.get(f"{own}/{given['id']}/roles")).json["roles"]
    assert (await cloud.as_admin.get(f"{own}/{given['id']}/roles/{roles[0]['id']}")).status == 200
    assert (await cloud.as_admin.get(f"{own}/{given['id']}")).status == 200
    assert (await cloud.as_admin.delete(f"{own}/{given['id']}")).status == 204
    assert (await client.get("/networking/v2.0/networks")).status == 401, "it ends at once"
    assert (await consumer.login()).status == 401


async def test_client_credentials_of_oauth2(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    me = (await cloud.as_admin.get(f"{V3}/users?name=ann")).json["users"][0]["id"]
    path = f"{V3}/users/{me}/application_credentials"
    made = (await ann.post(path, {"application_credential": {"name": "robot"}})).json["application_credential"]

    async def ask(secret: str, form: bytes) -> Answer:
        basic = base64.b64encode(f"{made['id']}:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return await cloud.anonymous.post(f"{V3}/OS-OAUTH2/token", data=form, headers=headers)

    answer = await ask(made["secret"], b"grant_type=client_credentials")
    assert answer.status == 200, answer.body
    assert answer.json["token_type"] == "Bearer" and answer.json["expires_in"] > 3000
    bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
    assert (await cloud.anonymous.get("/networking/v2.0/networks", headers=bearer)).status == 200
    wrong = await ask("wrong", b"grant_type=client_credentials")
    assert (wrong.status, wrong.json["error"]) == (401, "invalid_client")
    assert (await ask(made["secret"], b"grant_type=password")).json["error"] == "unsupported_grant_type"
    assert (await ask(made["secret"], b"")).json["error"] == "invalid_request"
    nobody = await cloud.anonymous.post(f"{V3}/OS-OAUTH2/token", data=b"grant_type=client_credentials")
    assert nobody.status == 401
