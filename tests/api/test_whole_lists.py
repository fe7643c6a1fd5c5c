"""Identity's lists: whole where no limit is given, because Keystone's clients follow no links; in pages where one is."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.http import paging
from ostro.http.identity import IDENTITY
from ostro.testing.cloud import Answer, TestCloud
from ostro.testing.served import head, serve_cloud

V3 = "/identity/v3"
PAGE = 3


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = paging.parse_page.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "limit_most", PAGE)


def read(answer: Answer, name: str) -> list[dict[str, Any]]:
    """The objects of a whole list."""
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json
    assert body["links"]["next"] is None and body["links"]["self"].endswith(f"/v3/{name}") and len(body) == 2
    found: list[dict[str, Any]] = body[name]
    return found


@pytest.mark.parametrize("noun", ["project", "user", "group", "role", "domain", "service", "region"])
@pytest.mark.parametrize("count", [1, PAGE, 3 * PAGE + 1])
async def test_a_list_has_everything(cloud: TestCloud, noun: str, count: int) -> None:
    made = set()
    for number in range(count):
        body = {noun: {"type": "x"} if noun == "service" else {} if noun == "region" else {"name": f"one-{number}"}}
        made.add((await cloud.as_admin.post(f"{V3}/{noun}s", body)).json[noun]["id"])
    found = read(await cloud.as_admin.get(f"{V3}/{noun}s"), f"{noun}s")
    ids = [one["id"] for one in found]
    assert made <= set(ids) and len(ids) == len(set(ids))
    shown = (await cloud.as_admin.get(f"{V3}/{noun}s/{ids[-1]}")).json[noun]
    assert found[-1] == shown


async def test_filters_hold_on_every_page(cloud: TestCloud) -> None:
    for number in range(2 * PAGE + 2):
        for name in (f"wanted-{number}", f"other-{number}"):
            assert (await cloud.as_admin.post(f"{V3}/projects", {"project": {"name": name}})).status == 201
    answer = await cloud.as_admin.get(f"{V3}/projects?name__startswith=wanted")
    assert {one["name"] for one in answer.json["projects"]} == {f"wanted-{n}" for n in range(2 * PAGE + 2)}


async def test_a_limit_is_a_page_with_a_link(cloud: TestCloud) -> None:
    for number in range(2 * PAGE):
        await cloud.as_admin.post(f"{V3}/projects", {"project": {"name": f"p{number}"}})
    names: list[str] = []
    url = f"{V3}/projects?limit=2"
    while url:
        answer = (await cloud.as_admin.get(url)).json
        assert len(answer["projects"]) <= 2
        names += [one["name"] for one in answer["projects"]]
        url = (answer["links"]["next"] or "").removeprefix("http://localhost")
    assert names == sorted(names) and set(names) >= {f"p{n}" for n in range(2 * PAGE)}


async def test_by_both_ways_in(cloud: TestCloud) -> None:
    for number in range(2 * PAGE):
        await cloud.as_admin.post(f"{V3}/projects", {"project": {"name": f"p{number}"}})
    async with serve_cloud(cloud) as served:
        bodies = []
        for more in ({}, {"Expect": "100-continue"}):
            for method in ("GET", "HEAD"):
                async with served.connect() as client:
                    headers = {"X-Auth-Token": cloud.as_admin.token, "Connection": "close", **more}
                    await client.send(head(method, f"{V3}/projects", headers))
                    if method == "GET":
                        bodies.append((await client.answer()).json["projects"])
                    else:
                        assert b"HTTP/1.1 200" in await client.everything()
    assert bodies[0] == bodies[1] and len(bodies[0]) == 2 * PAGE + 1


def test_every_paged_list_is_such() -> None:
    paged = [route for route in IDENTITY.routes if route.method == "GET" and "marker" in route.query]
    assert len(paged) > 20
    for route in paged:
        assert hasattr(route.handler, "__wrapped__"), route.path
