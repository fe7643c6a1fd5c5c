"""Which template a path meets."""

from __future__ import annotations

import pytest

from ostro.http.router import Router
from ostro.model.errors import Bug

TEMPLATES = (
    "/",
    "/v3",
    "/v3/users",
    "/v3/users/{user}",
    "/v3/users/{user}/projects",
    "/v3/{kind}/all/{last}",
    "/docs/{name}.json",
    "/v1/AUTH_{account}",
    "/v1/AUTH_{account}/{container}",
    "/v1/AUTH_{account}/{container}/{object:rest}",
)


@pytest.fixture(scope="module")
def router() -> Router[str]:
    made: Router[str] = Router()
    for template in TEMPLATES:
        made.add(template, template)
    return made


@pytest.mark.parametrize(
    ("path", "template", "params"),
    [
        ("/", "/", {}),
        ("/v3", "/v3", {}),
        ("/v3/users/u", "/v3/users/{user}", {"user": "u"}),
        ("/v3/users/u/projects", "/v3/users/{user}/projects", {"user": "u"}),
        ("/v3/users/all/x", "/v3/{kind}/all/{last}", {"kind": "users", "last": "x"}),
        ("/docs/network.json", "/docs/{name}.json", {"name": "network"}),
        ("/v1/AUTH_p", "/v1/AUTH_{account}", {"account": "p"}),
        ("/v1/AUTH_p/c", "/v1/AUTH_{account}/{container}", {"account": "p", "container": "c"}),
        ("/v1/AUTH_p/c/o/", TEMPLATES[-1], {"account": "p", "container": "c", "object": "o/"}),
        ("/v1/AUTH_p/c//o", TEMPLATES[-1], {"account": "p", "container": "c", "object": "/o"}),
    ],
)
def test_found(router: Router[str], path: str, template: str, params: dict[str, str]) -> None:
    assert router.find(path) == (template, params)


@pytest.mark.parametrize(
    "path", ["", "/v4", "/v3/users/", "/v3/users/u/x", "/docs/.json", "/v1/AUTH_", "/v1/AUTH_p/", "//", "v3"]
)
def test_not_found(router: Router[str], path: str) -> None:
    assert router.find(path) is None


@pytest.mark.parametrize("template", ["/v3/users/{id}", "/v1/AUTH_{a}/{b}/{c:rest}", "/"])
def test_twice(router: Router[str], template: str) -> None:
    with pytest.raises(Bug):
        router.add(template, "again")
