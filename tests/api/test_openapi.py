"""The committed contract is the one that the routes make, and it is sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml

from ostro.http.catalog import SERVICES
from ostro.http.openapi import AGENT_STRUCTS, make_agent_schemas, make_files
from ostro.model.policy import read_overrides
from ostro.model.wishes import Noun
from ostro.services.identity.rules import IDENTITY_POLICIES
from ostro.testing.cloud import TestCloud

API = Path(__file__).parents[2] / "api"
FILES = make_files(SERVICES)


def test_the_committed_files_are_current() -> None:
    stale = [
        name for name, content in FILES.items() if not (API / name).exists() or (API / name).read_bytes() != content
    ]
    assert stale == [], "run `make api` and commit what it writes"


def test_no_file_is_left_over() -> None:
    committed = {str(path.relative_to(API)) for path in API.rglob("*.json") if "samples" not in path.parts}
    assert committed == {name for name in FILES if name.endswith(".json")}


def schemas_in(value: Any) -> list[Any]:
    """Every schema of a document."""
    if isinstance(value, list):
        return [schema for item in value for schema in schemas_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value["schema"]] if "schema" in value else []
    return own + [schema for item in value.values() for schema in schemas_in(item)]


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".json")))
def test_every_schema_is_a_valid_one(name: str) -> None:
    document = orjson.loads(FILES[name])
    for schema in schemas_in(document) if "paths" in document else [document]:
        jsonschema_rs.meta.validate(schema)


def test_every_noun_of_the_agent_protocol_has_a_schema() -> None:
    assert set(AGENT_STRUCTS) == set(Noun)
    document = make_agent_schemas()
    for reference in document["x-wish-bodies"].values():
        assert reference["$ref"].removeprefix("#/$defs/") in document["$defs"]


async def test_docs_are_served(cloud: TestCloud) -> None:
    page = await cloud.anonymous.get("/docs")
    assert page.status == 200
    assert b"/identity/v3/auth/tokens" in page.body
    assert b"http" not in page.body.replace(b"http-equiv", b""), "nothing is loaded from elsewhere"
    document = await cloud.anonymous.get("/docs/identity.json")
    assert document.body == FILES["identity.json"]
    assert (await cloud.anonymous.get("/docs/nothing.json")).status == 404
    guide = await cloud.anonymous.get("/docs/beyond.md")
    assert guide.headers["Content-Type"] == "text/markdown; charset=UTF-8"
    assert b"# Beyond upstream" in guide.body
    assert (await cloud.anonymous.get("/docs/nothing.md")).status == 404


def test_the_reference_of_policies_is_a_policy_file() -> None:
    """Uncommented, it says what holds anyway."""
    text = FILES["policy.yaml"].decode()
    rules = read_overrides(yaml.safe_load(re.sub(r'^#(?=")', "", text, flags=re.MULTILINE)))
    assert set(IDENTITY_POLICIES) <= set(rules)
    assert {route.policy for service in SERVICES for route in service.routes} <= set(rules)
