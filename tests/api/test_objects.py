"""Objects over HTTP."""

from __future__ import annotations

import hashlib
import resource
import sqlite3
from contextlib import closing
from typing import Any

import orjson
import pytest

from ostro.http.faults import swift_page
from ostro.model.errors import Forbidden
from ostro.services.object.limits import CHUNK_BYTES, INLINE_MOST_BYTES
from ostro.services.object.sweeps import sweep_objects, sweep_stray_chunks
from ostro.testing.cloud import TestCloud
from ostro.testing.swift import Swift, open_swift, project_of

LARGE = bytes(range(256)) * (2 * CHUNK_BYTES // 256 + 40)
"""Two chunks and a bit; the two are the same."""


@pytest.fixture
async def swift(cloud: TestCloud) -> Swift:
    return await open_swift(cloud)


def chunk_files(cloud: TestCloud) -> list[str]:
    root = cloud.cloud.config.state_dir / "chunks"
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.parent.name != "locks")


@pytest.mark.parametrize("size", [0, 1, INLINE_MOST_BYTES, INLINE_MOST_BYTES + 1, CHUNK_BYTES, CHUNK_BYTES + 1])
async def test_put_and_get(swift: Swift, size: int) -> None:
    data = LARGE[:size]
    put = await swift.put("/c/o", data, X_Object_Meta_Color="red", Content_Type="text/x-thing")
    etag = hashlib.md5(data).hexdigest()
    assert (put.status, put.headers["Etag"], put.body) == (201, etag, b"")
    assert put.headers["X-Trans-Id"].startswith("tx")
    assert put.headers["X-Trans-Id"] == put.headers["X-Openstack-Request-Id"]
    got = await swift.get("/c/o")
    assert (got.status, got.body) == (200, data)
    head = await swift.call("HEAD", "/c/o")
    for answer in (got, head):
        headers = answer.headers
        assert (headers["Etag"], headers["Content-Length"]) == (etag, str(size))
        assert (headers["Content-Type"], headers["X-Object-Meta-Color"]) == ("text/x-thing", "red")
        assert headers["Accept-Ranges"] == "bytes"
        assert "X-Timestamp" in headers and headers["Last-Modified"].endswith("GMT")
    assert head.body == b""


async def test_same_chunks_are_kept_once_and_collected(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/one", LARGE)
    assert len(chunk_files(cloud)) == 2
    await swift.put("/c/two", LARGE)
    await swift.put("/c/one", b"small now")
    await sweep_objects(cloud.cloud)
    assert len(chunk_files(cloud)) == 2
    assert (await swift.get("/c/two")).body == LARGE
    assert (await swift.call("DELETE", "/c/two")).status == 204
    await sweep_objects(cloud.cloud)
    assert chunk_files(cloud) == []


async def test_stray_chunks_are_swept(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/o", LARGE)
    kept = chunk_files(cloud)
    root = cloud.cloud.config.state_dir / "chunks"
    stray = "ab" * 32
    (root / "ab" / "ab").mkdir(parents=True, exist_ok=True)
    (root / "ab" / "ab" / stray).write_bytes(b"nobody's")
    (root / "drafts" / "1-1-1").write_bytes(b"half")
    await sweep_stray_chunks(cloud.cloud)
    assert chunk_files(cloud) == kept
    assert (await swift.get("/c/o")).body == LARGE


async def test_a_damaged_chunk_is_not_served_and_heals(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/o", LARGE)
    name = chunk_files(cloud)[0]
    path = cloud.cloud.config.state_dir / "chunks" / name[:2] / name[2:4] / name
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ExceptionGroup):
        await swift.get("/c/o")
    await swift.put("/c/again", LARGE)
    assert (await swift.get("/c/o")).body == LARGE


async def test_ranges(swift: Swift) -> None:
    await swift.put("/c/o", LARGE)
    size = len(LARGE)
    for header, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        (f"bytes={CHUNK_BYTES - 2}-{CHUNK_BYTES + 1}", CHUNK_BYTES - 2, CHUNK_BYTES + 2),
        ("bytes=-5", size - 5, size),
        (f"bytes={size - 3}-{size + 10}", size - 3, size),
    ):
        got = await swift.get("/c/o", Range=header)
        assert (got.status, got.body) == (206, LARGE[start:end]), header
        assert got.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert got.headers["Content-Length"] == str(end - start)
    bad = await swift.get("/c/o", Range=f"bytes={size}-")
    assert (bad.status, bad.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert (
        bad.body == b"<html><h1>Requested Range Not Satisfiable</h1><p>The Range requested is not available.</p></html>"
    )
    assert (await swift.get("/c/o", Range="bytes=x")).status == 200


async def test_several_ranges(swift: Swift) -> None:
    await swift.put("/c/o", b"0123456789", Content_Type="text/plain")
    got = await swift.get("/c/o", Range="bytes=0-1,-2")
    assert got.status == 206
    kind, _, boundary = got.headers["Content-Type"].partition(";boundary=")
    assert kind == "multipart/byteranges"
    head = "Content-Type: text/plain\r\nContent-Range: bytes {}/10\r\n\r\n{}\r\n"
    wanted = (
        f"--{boundary}\r\n"
        + head.format("0-1", "01")
        + f"--{boundary}\r\n"
        + head.format("8-9", "89")
        + f"--{boundary}--"
    )
    assert got.body.decode() == wanted
    assert got.headers["Content-Length"] == str(len(wanted))


async def test_conditions(swift: Swift) -> None:
    etag = (await swift.put("/c/o", b"x")).headers["Etag"]
    modified = (await swift.call("HEAD", "/c/o")).headers["Last-Modified"]
    old, future = "Thu, 01 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"
    for headers, status in (
        ({"If_None_Match": etag}, 304),
        ({"If_None_Match": f'"{etag}"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": "other"}, 200),
        ({"If_Match": etag}, 200),
        ({"If_Match": "*"}, 200),
        ({"If_Match": "other"}, 412),
        ({"If_Modified_Since": modified}, 304),
        ({"If_Modified_Since": old}, 200),
        ({"If_Modified_Since": "nonsense"}, 200),
        ({"If_Unmodified_Since": old}, 412),
        ({"If_Unmodified_Since": future}, 200),
        ({"If_None_Match": "other", "If_Modified_Since": future}, 200),
        ({"Range": "bytes=0-0", "If_Range": etag}, 206),
        ({"Range": "bytes=0-0", "If_Range": "other"}, 200),
    ):
        answer = await swift.get("/c/o", **headers)
        assert answer.status == status, headers
        if status == 304:
            assert (answer.body, answer.headers["Etag"]) == (b"", etag)


async def test_conditional_writes(swift: Swift) -> None:
    assert (await swift.call("PUT", "/c/o", b"x", If_None_Match="*")).status == 201
    assert (await swift.call("PUT", "/c/o", b"y", If_None_Match="*")).status == 412
    assert (await swift.call("PUT", "/c/o", b"y", If_None_Match="abc")).status == 400
    assert (await swift.call("DELETE", "/c/o", If_Match="other")).status == 412
    assert (await swift.get("/c/o")).body == b"x"


async def test_etag_is_checked(cloud: TestCloud, swift: Swift) -> None:
    wrong = await swift.call("PUT", "/c/o", LARGE, Etag="0" * 32)
    assert wrong.status == 422
    assert (
        wrong.body == b"<html><h1>Unprocessable Entity</h1><p>Unable to process the contained instructions</p></html>"
    )
    assert (await swift.get("/c/o")).status == 404
    assert chunk_files(cloud) == []
    assert (await swift.call("PUT", "/c/o", LARGE, Etag=f'"{hashlib.md5(LARGE).hexdigest()}"')).status == 201


async def test_missing_things(swift: Swift) -> None:
    page = b"<html><h1>Not Found</h1><p>The resource could not be found.</p></html>"
    for method, path in (
        ("GET", "/c/none"),
        ("GET", "/none"),
        ("PUT", "/none/o"),
        ("DELETE", "/c/none"),
        ("POST", "/c/none"),
    ):
        answer = await swift.call(method, path, b"" if method in ("PUT", "POST") else None)
        assert (answer.status, answer.body) == (404, page), (method, path)
        assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert (await swift.call("PUT", "/none/o", LARGE)).status == 404


async def test_names(swift: Swift) -> None:
    for name in ("a/b/c", "/leading", "trailing/", "a//b", "ünïcödé ☃", "per%cent", "que?stion", "#hash", "a&b<c>"):
        quoted = name.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        await swift.put(f"/c/{quoted}", name.encode())
        assert (await swift.get(f"/c/{quoted}")).body == name.encode(), name
    listed = (await swift.get("/c?format=json")).json
    assert {entry["name"] for entry in listed} >= {"/leading", "trailing/", "ünïcödé ☃", "que?stion"}
    assert (await swift.call("PUT", f"/c/{'x' * 1025}", b"")).status == 400
    assert (await swift.call("PUT", f"/{'x' * 257}")).status == 400


async def test_metadata_is_replaced_by_post(swift: Swift) -> None:
    await swift.put("/c/o", b"x", X_Object_Meta_A="1", X_Object_Meta_B="2", Content_Encoding="gzip", Content_Type="a/b")
    answer = await swift.call("POST", "/c/o", b"", X_Object_Meta_C="3")
    assert answer.status == 202
    headers = (await swift.call("HEAD", "/c/o")).headers
    assert headers["X-Object-Meta-C"] == "3"
    assert not {"X-Object-Meta-A", "Content-Encoding"} & set(headers.keys())
    assert headers["Content-Type"] == "a/b"
    assert (await swift.get("/c/o")).body == b"x"


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"X_Object_Meta_" + "x" * 129: "1"}, b"name too long"),
        ({"X_Object_Meta_A": "x" * 257}, b"longer than 256"),
        ({f"X_Object_Meta_{i}": "1" for i in range(91)}, b"Too many"),
        ({f"X_Object_Meta_{i}": "x" * 250 for i in range(20)}, b"too large"),
        ({"X_Delete_At": "soon"}, b"Non-integer X-Delete-At"),
        ({"X_Delete_At": "1"}, b"X-Delete-At in past"),
        ({"X_Delete_After": "-1"}, b"X-Delete-After in past"),
        ({"X_Object_Manifest": "nothing"}, b"X-Object-Manifest"),
    ],
)
async def test_headers_that_are_refused(swift: Swift, headers: dict[str, str], word: bytes) -> None:
    answer = await swift.call("PUT", "/c/o", b"x", **headers)
    assert (answer.status, word in answer.body) == (400, True), answer.body
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_content_types_are_guessed(swift: Swift) -> None:
    await swift.put("/c/page.html", b"x")
    assert (await swift.call("HEAD", "/c/page.html")).headers["Content-Type"] == "text/html"
    await swift.put("/c/thing", b"x")
    assert (await swift.call("HEAD", "/c/thing")).headers["Content-Type"] == "application/octet-stream"
    await swift.put("/c/t.json", b"x", Content_Type="text/css", X_Detect_Content_Type="true")
    assert (await swift.call("HEAD", "/c/t.json")).headers["Content-Type"] == "application/json"


async def test_objects_expire(cloud: TestCloud, swift: Swift, monkeypatch: pytest.MonkeyPatch) -> None:
    await swift.put("/c/o", LARGE, X_Delete_After="100")
    at_s = int((await swift.call("HEAD", "/c/o")).headers["X-Delete-At"])
    await cloud.db.run(lambda tx: tx.execute("UPDATE objects SET delete_at_s = ?", (at_s - 200,)))
    assert (await swift.get("/c/o")).status == 404
    assert (await swift.call("DELETE", "/c/o")).status == 404
    await sweep_objects(cloud.cloud)
    assert chunk_files(cloud) == []
    assert (await swift.call("HEAD", "/c")).headers["X-Container-Object-Count"] == "0"
    assert (await swift.call("DELETE", "/c")).status == 204


async def test_deleting_what_has_expired_takes_it_off_the_listing(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/o", b"x", X_Delete_After="100")
    at_s = int((await swift.call("HEAD", "/c/o")).headers["X-Delete-At"])
    await cloud.db.run(lambda tx: tx.execute("UPDATE objects SET delete_at_s = ?", (at_s - 200,)))
    assert (await swift.call("DELETE", "/c")).status == 409
    assert (await swift.call("DELETE", "/c/o")).status == 404
    assert (await swift.call("DELETE", "/c")).status == 204


async def test_an_account_has_a_time_from_the_start(cloud: TestCloud, swift: Swift) -> None:
    assert float((await swift.call("HEAD")).headers["X-Timestamp"]) > 0


async def test_copies(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/d")
    await swift.put("/c/o", LARGE, X_Object_Meta_A="1", Content_Type="x/y")
    copied = await swift.call("COPY", "/c/o", Destination="/d/é", X_Object_Meta_B="2")
    assert copied.status == 201
    assert (copied.headers["X-Copied-From"], copied.headers["Etag"]) == ("c/o", hashlib.md5(LARGE).hexdigest())
    assert (await swift.call("DELETE", "/c/o")).status == 204
    await sweep_objects(cloud.cloud)
    got = await swift.get("/d/é")
    assert got.body == LARGE
    assert (got.headers["X-Object-Meta-A"], got.headers["X-Object-Meta-B"], got.headers["Content-Type"]) == (
        "1",
        "2",
        "x/y",
    )
    put = await swift.put("/d/new", b"", X_Copy_From="/d/%C3%A9", X_Fresh_Metadata="true", X_Object_Meta_C="3")
    assert put.status == 201
    fresh = (await swift.call("HEAD", "/d/new")).headers
    assert (fresh["X-Object-Meta-C"], "X-Object-Meta-A" in fresh) == ("3", False)
    assert (await swift.call("PUT", "/d/bad", b"bytes", X_Copy_From="/d/new")).status == 400
    assert (await swift.call("PUT", "/d/bad", b"", X_Copy_From="nonsense")).status == 412
    assert (await swift.call("PUT", "/d/bad", b"", X_Copy_From="/d/none")).status == 404


async def segments(swift: Swift) -> list[dict[str, Any]]:
    parts = [b"a" * 10, LARGE, b"c" * 5]
    out = []
    for i, part in enumerate(parts):
        put = await swift.put(f"/c/seg/{i}", part)
        out.append({"path": f"/c/seg/{i}", "etag": put.headers["Etag"], "size_bytes": len(part)})
    return out


async def test_static_large_objects(cloud: TestCloud, swift: Swift) -> None:
    manifest = await segments(swift)
    manifest.append({"path": "/c/seg/0", "range": "2-4"})
    body = orjson.dumps(manifest)
    put = await swift.put("/c/big?multipart-manifest=put", body, Content_Type="x/y")
    whole = b"a" * 10 + LARGE + b"c" * 5 + b"aaa"
    etags = "".join(s["etag"] for s in manifest[:3]) + f"{manifest[0]['etag']}:2-4;"
    assert put.headers["Etag"].strip('"') == hashlib.md5(etags.encode()).hexdigest()
    got = await swift.get("/c/big")
    assert got.body == whole
    assert (got.headers["X-Static-Large-Object"], got.headers["Content-Type"]) == ("True", "x/y")
    assert got.headers["Etag"] == f'"{hashlib.md5(etags.encode()).hexdigest()}"'
    part = await swift.get("/c/big", Range=f"bytes=5-{len(LARGE) + 12}")
    assert (part.status, part.body) == (206, whole[5 : len(LARGE) + 13])
    raw = await swift.get("/c/big?multipart-manifest=get")
    assert [s["name"] for s in raw.json] == ["/c/seg/0", "/c/seg/1", "/c/seg/2", "/c/seg/0"]
    entry = next(e for e in (await swift.get("/c?format=json")).json if e["name"] == "big")
    assert (entry["bytes"], entry["slo_etag"]) == (len(whole), got.headers["Etag"])
    await swift.put("/c/copied", b"", X_Copy_From="/c/big")
    assert (await swift.get("/c/copied")).body == whole
    await swift.put("/c/nested?multipart-manifest=put", orjson.dumps([{"path": "/c/big"}, {"path": "/c/seg/2"}]))
    assert (await swift.get("/c/nested")).body == whole + b"c" * 5
    gone = await swift.call("DELETE", "/c/big?multipart-manifest=delete")
    assert (gone.json["Number Deleted"], gone.json["Number Not Found"]) == (4, 1)
    assert (await swift.get("/c/seg/1")).status == 404


@pytest.mark.parametrize(
    ("manifest", "word"),
    [
        ([{"path": "/c/none"}], b"404 Not Found"),
        ([{"path": "/c/o", "etag": "0" * 32}], b"Etag Mismatch"),
        ([{"path": "/c/o", "size_bytes": 3}], b"Size Mismatch"),
        ([{"path": "/c/o", "range": "9-10"}], b"Unsatisfiable Range"),
        ([{"path": "nonsense"}], b"does not refer to an object"),
        ([], b"at least one"),
        ({"path": "/c/o"}, b"valid JSON"),
    ],
)
async def test_manifests_that_are_refused(swift: Swift, manifest: object, word: bytes) -> None:
    await swift.put("/c/o", b"x")
    answer = await swift.call("PUT", "/c/big?multipart-manifest=put", orjson.dumps(manifest))
    assert (answer.status, word in answer.body) == (400, True), answer.body


async def test_dynamic_large_objects(swift: Swift) -> None:
    await segments(swift)
    await swift.put("/c/dyn", b"", X_Object_Manifest="c/seg/")
    got = await swift.get("/c/dyn")
    assert got.body == b"a" * 10 + LARGE + b"c" * 5
    assert got.headers["Content-Length"] == str(len(got.body))
    assert (await swift.get("/c/dyn", Range="bytes=8-11")).body == b"aa" + LARGE[:2]
    assert (await swift.get("/c/dyn?multipart-manifest=get")).body == b""
    assert (await swift.call("HEAD", "/c/dyn")).headers["X-Object-Manifest"] == "c/seg/"


async def test_who_may_what(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/o", b"x")
    owner_id = swift.project_id
    bob = await cloud.add_user("bob", "blue")
    stranger, nobody = Swift(bob, owner_id), Swift(cloud.anonymous, owner_id)
    assert (await stranger.get("/c/o")).status == 403
    unauthorized = await nobody.get("/c/o")
    assert unauthorized.status == 401
    assert b"could not verify that you are authorized" in unauthorized.body
    assert (await stranger.get()).status == 403
    await swift.call("POST", "/c", b"", X_Container_Read=".r:*,.rlistings")
    assert (await nobody.get("/c/o")).body == b"x"
    assert (await nobody.get("/c")).body == b"o\n"
    assert (await nobody.call("PUT", "/c/n", b"")).status == 401
    await swift.call("POST", "/c", b"", X_Container_Read=".r:*")
    assert (await nobody.get("/c")).status == 401
    blue_id = await project_of(bob)
    await swift.call("POST", "/c", b"", X_Container_Read="", X_Container_Write=f"{blue_id}:*")
    assert (await nobody.get("/c/o")).status == 401
    assert (await stranger.call("PUT", "/c/n", b"y")).status == 201
    assert (await stranger.get("/c/n")).status == 403
    assert "X-Container-Write" in (await swift.call("HEAD", "/c")).headers
    assert (await swift.call("POST", "/c", b"", X_Container_Write=".r:*")).status == 400
    reader = Swift(await cloud.add_user("rita", "admin", "reader"), owner_id)
    assert (await reader.get("/c/o")).body == b"x"
    assert (await reader.call("DELETE", "/c/o")).status == 403


async def test_a_large_object_opens_no_other_container(cloud: TestCloud, swift: Swift) -> None:
    """Whoever may read and write one container must not read, or delete, the others by manifests that name them."""
    await swift.put("/secret")
    await swift.put("/secret/o", b"secret")
    bob = await cloud.add_user("bob", "blue")
    lent = f"{await project_of(bob)}:*"
    await swift.call("POST", "/c", b"", X_Container_Read=lent, X_Container_Write=lent)
    guest = Swift(bob, swift.project_id)
    await guest.put("/c/dynamic", b"", X_Object_Manifest="secret/o")
    assert (await guest.get("/c/dynamic")).status == 403
    assert (await guest.call("HEAD", "/c/dynamic")).status == 403
    manifest = orjson.dumps([{"path": "/secret/o"}])
    assert (await guest.call("PUT", "/c/slo?multipart-manifest=put", manifest)).status == 403
    await swift.put("/c/slo?multipart-manifest=put", manifest)
    await swift.put("/c/nested?multipart-manifest=put", orjson.dumps([{"path": "/c/slo"}]))
    assert (await swift.get("/c/nested")).body == b"secret"
    assert (await guest.get("/c/slo")).status == 403
    with pytest.RaisesGroup(Forbidden, flatten_subgroups=True, allow_unwrapped=True):
        await guest.get("/c/nested")
    assert (await guest.call("DELETE", "/c/slo?multipart-manifest=delete")).status == 403
    assert (await guest.call("COPY", "/c/slo", None, Destination="c/copy")).status == 403
    await swift.call("POST", "/secret", b"", X_Container_Read=lent)
    assert (await guest.get("/c/slo")).body == (await guest.get("/c/dynamic")).body == b"secret"
    assert (await guest.call("DELETE", "/c/slo?multipart-manifest=delete")).status == 403
    assert (await swift.get("/secret/o")).body == b"secret"


async def test_info(cloud: TestCloud) -> None:
    info = (await cloud.anonymous.get("/object-store/info")).json
    assert info["swift"]["container_listing_limit"] == 10_000


async def test_a_full_disk(cloud: TestCloud, swift: Swift) -> None:
    await swift.put("/c/before", LARGE)
    kept = chunk_files(cloud)
    database = cloud.cloud.config.state_dir / "ostro.db"
    if database.exists():
        # Its log has grown by the migrations, and is no chunk.
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may become larger: to whoever writes a chunk that is a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK_BYTES // 2, hard))
    try:
        refused = await swift.call("PUT", "/c/o", b"y" * (CHUNK_BYTES + 1))
        assert (refused.status, refused.body) == (507, swift_page(507))
        assert (await swift.get("/c/o")).status == 404
        assert chunk_files(cloud) == kept
        assert (await swift.get("/c/before")).body == LARGE
        await swift.put("/c/small", b"goes into the index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await swift.put("/c/o", b"y" * (CHUNK_BYTES + 1))
