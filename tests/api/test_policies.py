"""Policies as objects over HTTP, and which is an endpoint's."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"


async def test_the_nearest_policy_is_an_endpoints(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    made = []
    for name in "abc":
        body = {"policy": {"type": "text/plain", "blob": name, "colour": "red"}}
        answer = await admin.post(f"{V3}/policies", body)
        assert answer.status == 201 and answer.json["policy"]["colour"] == "red"
        made.append(answer.json["policy"]["id"])
    (service,) = (await admin.get(f"{V3}/services?type=image")).json["services"]
    query = f"service_id={service['id']}&interface=public"
    (endpoint,) = (await admin.get(f"{V3}/endpoints?{query}")).json["endpoints"]
    nearest = f"{V3}/endpoints/{endpoint['id']}/OS-ENDPOINT-POLICY/policy"
    assert (await admin.get(nearest)).status == 404
    places = (
        f"services/{service['id']}",
        f"services/{service['id']}/regions/RegionOne",
        f"endpoints/{endpoint['id']}",
    )
    ties = [f"{V3}/policies/{id_}/OS-ENDPOINT-POLICY/{place}" for id_, place in zip(made, places, strict=True)]
    for id_, tie in zip(made, ties, strict=True):
        assert (await admin.get(tie)).status == 404
        assert (await admin.put(tie)).status == 204
        assert (await admin.get(tie)).status == 204
        assert (await admin.get(nearest)).json["policy"]["id"] == id_
    listed = await admin.get(f"{V3}/policies/{made[2]}/OS-ENDPOINT-POLICY/endpoints")
    assert [line["id"] for line in listed.json["endpoints"]] == [endpoint["id"]]
    assert (await admin.delete(ties[2])).status == 204
    assert (await admin.get(nearest)).json["policy"]["id"] == made[1]
    assert (await admin.delete(f"{V3}/policies/{made[1]}")).status == 204
    assert (await admin.get(nearest)).json["policy"]["id"] == made[0], "its ties go with it"
    ann = await cloud.add_user("ann", "blue")
    assert (await ann.get(f"{V3}/policies")).status == 403
