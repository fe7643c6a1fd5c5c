"""Accounts and containers over HTTP."""

from __future__ import annotations

import pytest

from ostro.services.object.sweeps import sweep_objects
from ostro.testing.cloud import TestCloud
from ostro.testing.swift import Swift, open_swift


@pytest.fixture
async def swift(cloud: TestCloud) -> Swift:
    return await open_swift(cloud)


async def test_account(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/o", b"12345")
    await swift.put("/d")
    for _ in range(2):
        head = await swift.call("HEAD")
        assert head.status == 204
        headers = head.headers
        assert (headers["X-Account-Container-Count"], headers["X-Account-Object-Count"]) == ("2", "1")
        assert headers["X-Account-Bytes-Used"] == "5"
        # The same before and after the changes are added up.
        await sweep_objects(cloud.cloud)
    assert (await swift.get()).body == b"c\nd\n"
    listed = (await swift.get("?format=json")).json
    assert [(e["name"], e["count"], e["bytes"]) for e in listed] == [("c", 1, 5), ("d", 0, 0)]
    assert (await swift.get("?prefix=x")).status == 204
    assert (await swift.get("?prefix=x&format=json")).body == b"[]"


async def test_account_metadata(swift: Swift) -> None:
    assert (await swift.call("POST", "", b"", X_Account_Meta_Color="red")).status == 204
    assert (await swift.call("HEAD")).headers["X-Account-Meta-Color"] == "red"
    await swift.call("POST", "", b"", X_Remove_Account_Meta_Color="x")
    assert "X-Account-Meta-Color" not in (await swift.call("HEAD")).headers


async def test_containers(swift: Swift) -> None:
    assert (await swift.call("PUT", "/new", b"", X_Container_Meta_A="1")).status == 201
    assert (await swift.call("PUT", "/new", b"", X_Container_Meta_B="2")).status == 202
    head = await swift.call("HEAD", "/new")
    assert (head.status, head.headers["X-Container-Meta-A"], head.headers["X-Container-Meta-B"]) == (204, "1", "2")
    assert head.headers["X-Storage-Policy"] == "Policy-0"
    assert (await swift.call("POST", "/new", b"", X_Container_Meta_A="")).status == 204
    assert "X-Container-Meta-A" not in (await swift.call("HEAD", "/new/")).headers
    assert (await swift.call("PUT", "/new", b"", X_Storage_Policy="gold")).status == 400
    await swift.put("/new/o", b"x")
    full = await swift.call("DELETE", "/new")
    assert full.status == 409
    assert (
        full.body == b"<html><h1>Conflict</h1><p>There was a conflict when trying to complete your request.</p></html>"
    )
    await swift.call("DELETE", "/new/o")
    assert (await swift.call("DELETE", "/new")).status == 204
    assert (await swift.call("DELETE", "/new")).status == 404


NAMES = ("a", "b/1", "b/2", "b/c/3", "d", "e/", "é")


@pytest.fixture
async def filled(swift: Swift) -> Swift:
    for name in NAMES:
        await swift.put(f"/c/{name}", b"x")
    return swift


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", "a b/1 b/2 b/c/3 d e/ é"),
        ("limit=2", "a b/1"),
        ("limit=0", ""),
        ("marker=b/2", "b/c/3 d e/ é"),
        ("marker=b/2&end_marker=e", "b/c/3 d"),
        ("prefix=b/", "b/1 b/2 b/c/3"),
        ("prefix=b/&marker=b/1", "b/2 b/c/3"),
        ("delimiter=/", "a b/ d e/ é"),
        ("delimiter=/&limit=2", "a b/"),
        ("delimiter=/&marker=b/", "d e/ é"),
        ("delimiter=/&prefix=b/", "b/1 b/2 b/c/"),
        ("delimiter=/&prefix=b", "b/"),
        ("reverse=true", "é e/ d b/c/3 b/2 b/1 a"),
        ("reverse=true&delimiter=/", "é e/ d b/ a"),
        ("reverse=true&delimiter=/&marker=d", "b/ a"),
        ("reverse=true&delimiter=/&marker=b/", "a"),
        ("reverse=true&marker=b/2&end_marker=a", "b/1"),
        ("path=", "a d e/ é"),
        ("path=b", "b/1 b/2"),
        ("path=b/c", "b/c/3"),
        ("prefix=nothing", ""),
    ],
)
async def test_listings(filled: Swift, query: str, wanted: str) -> None:
    answer = await filled.get(f"/c?{query}")
    assert answer.status == (200 if wanted else 204)
    assert answer.body.decode().split("\n") == [*wanted.split(), ""]


async def test_long_listings(swift: Swift) -> None:
    for i in range(70):
        await swift.put(f"/c/d{i:02}/x", b"")
        await swift.put(f"/c/d00/{i:03}", b"")
    listed = (await swift.get("/c?delimiter=/&format=json")).json
    assert [e["subdir"] for e in listed] == [f"d{i:02}/" for i in range(70)]
    backwards = (await swift.get("/c?delimiter=/&reverse=true&format=json")).json
    assert backwards == listed[::-1]
    assert (await swift.get("/c?prefix=d00/&delimiter=/")).body.count(b"\n") == 71


async def test_listing_formats(filled: Swift) -> None:
    entry = (await filled.get("/c?format=json&prefix=b/&delimiter=/")).json
    assert entry[0].keys() == {"name", "hash", "bytes", "content_type", "last_modified"}
    assert entry[2] == {"subdir": "b/c/"}
    xml = (await filled.get("/c?prefix=b/&delimiter=/", Accept="application/xml")).body.decode()
    assert xml.startswith("<?xml version='1.0' encoding='UTF-8'?>\n<container name=\"c\">")
    assert '<subdir name="b/c/"><name>b/c/</name></subdir>' in xml
    assert "<object><name>b/1</name><hash>" in xml
    assert (await filled.get("/c", Accept="application/json")).json
    assert (await filled.get("/c?limit=10001")).status == 412
