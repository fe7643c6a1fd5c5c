"""What supervisors ask."""

from __future__ import annotations

import pytest

from ostro.testing.cloud import TestCloud


@pytest.mark.parametrize(("path", "status"), [("/healthz", "alive"), ("/readyz", "ready")])
async def test_health_needs_no_token(cloud: TestCloud, path: str, status: str) -> None:
    answer = await cloud.anonymous.get(path)
    assert answer.status == 200
    assert answer.json == {"status": status}


async def test_root_says_where_the_apis_are(cloud: TestCloud) -> None:
    apis = {api["type"]: api["url"] for api in (await cloud.anonymous.get("/")).json["apis"]}
    assert apis["identity"].endswith("/identity")
    assert apis["object-store"].endswith("/object-store/v1")
