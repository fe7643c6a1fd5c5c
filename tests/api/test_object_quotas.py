"""Quotas of accounts and containers over HTTP."""

from __future__ import annotations

from ostro.services.object.limits import INLINE_MOST_BYTES
from ostro.testing.cloud import ApiClient, TestCloud

ROOT = "/object-store/v1"


async def account_of(cloud: TestCloud, project: str) -> str:
    (found,) = (await cloud.as_admin.get(f"/identity/v3/projects?name={project}")).json["projects"]
    return f"{ROOT}/AUTH_{found['id']}"


async def put(client: ApiClient, path: str, size: int) -> int:
    answer = await client.put(path, data=b"x" * size)
    if answer.status == 413:
        assert answer.body == b"Upload exceeds quota."
    return answer.status


async def test_a_container_holds_so_many_bytes_and_objects(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    box = f"{await account_of(cloud, 'blue')}/box"
    quotas = {"X-Container-Meta-Quota-Bytes": "30000", "X-Container-Meta-Quota-Count": "2"}
    assert (await ann.put(box, headers=quotas)).status == 201
    for bad, what in (("Bytes", "bytes"), ("Count", "count")):
        refused = await ann.post(box, headers={f"X-Container-Meta-Quota-{bad}": "many"})
        assert (refused.status, refused.body) == (400, f"Invalid {what} quota.".encode())
    assert await put(ann, f"{box}/a", 10) == 201
    assert await put(ann, f"{box}/b", 30_000) == 413
    assert await put(ann, f"{box}/b", INLINE_MOST_BYTES + 5) == 201
    assert await put(ann, f"{box}/c", 0) == 413, "the third object"
    assert await put(ann, f"{box}/a", 30_000 - INLINE_MOST_BYTES - 5) == 201, "in the place of the first one"
    assert await put(ann, f"{box}/a", 30_000 - INLINE_MOST_BYTES - 4) == 413
    assert (await ann.request("COPY", f"{box}/a", headers={"Destination": "box/c"})).status == 413
    head = await ann.request("HEAD", box)
    assert (head.headers["X-Container-Bytes-Used"], head.headers["X-Container-Object-Count"]) == ("30000", "2")
    assert (await ann.post(box, headers={"X-Remove-Container-Meta-Quota-Count": "x"})).status == 204
    assert (await ann.post(box, headers={"X-Container-Meta-Quota-Bytes": ""})).status == 204
    assert await put(ann, f"{box}/c", 30_000) == 201


async def test_an_account_holds_so_many_bytes(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    account = await account_of(cloud, "blue")
    assert (await cloud.as_admin.post("/identity/v3/roles", {"role": {"name": "ResellerAdmin"}})).status == 201
    reseller = await cloud.add_user("rita", "resale", "ResellerAdmin")
    quota = {"X-Account-Meta-Quota-Bytes": "100"}
    assert (await ann.post(account, headers=quota)).status == 403
    eve = await cloud.add_user("eve", "evil")
    assert (await eve.post(account, headers=quota)).status == 403
    assert (await reseller.post(account, headers={"X-Account-Meta-Quota-Bytes": "lots"})).status == 400
    assert (await reseller.post(account, headers=quota)).status == 204
    assert (await ann.request("HEAD", account)).headers["X-Account-Meta-Quota-Bytes"] == "100"
    for box in ("one", "two"):
        assert (await ann.put(f"{account}/{box}")).status == 201
    assert await put(ann, f"{account}/one/a", 60) == 201
    assert await put(ann, f"{account}/two/a", 41) == 413
    assert await put(ann, f"{account}/two/a", 40) == 201
    assert (await ann.delete(f"{account}/one/a")).status == 204
    assert await put(ann, f"{account}/two/b", 60) == 201
    assert (await ann.post(account, headers={"X-Remove-Account-Meta-Quota-Bytes": "x"})).status == 403
    assert (await reseller.post(account, headers={"X-Remove-Account-Meta-Quota-Bytes": "x"})).status == 204
    assert await put(ann, f"{account}/two/c", 600) == 201


async def test_info_names_them(cloud: TestCloud) -> None:
    info = (await cloud.anonymous.get("/object-store/info")).json
    assert {"container_quotas", "account_quotas"} <= set(info)
