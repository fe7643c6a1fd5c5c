"""``/v1/AUTH_{account}/{container}``: containers, and the lists of their objects."""

from __future__ import annotations

from typing import Any

from ostro.http.object.headers import PLAIN, TEXT, last_modified_us, read_metadata, shown_etag, timestamp
from ostro.http.object.listings import LIST_QUERY, listing_reply, read_query
from ostro.http.object.service import OBJECT, admit
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Headers
from ostro.model.errors import Invalid
from ostro.model.times import http_date, to_datetime
from ostro.services.object.acls import Access, clean_acl
from ostro.services.object.containers import (
    ContainerChanges,
    delete_container,
    get_container,
    list_objects,
    put_container,
    update_container,
)
from ostro.services.object.limits import CONTAINER_NAME_MOST_BYTES, POLICY
from ostro.services.object.quotas import check_container_headers
from ostro.store.object_containers import ObjectContainer
from ostro.store.objects import BodyKind, StoredObject

_PATH = "/v1/AUTH_{account}/{container}"
KEPT = ("X-Container-Sync-To", "X-Container-Sync-Key", "X-Versions-Enabled", "X-Versions-Location")
"""What we can't do, and therefore refuse to be told."""


def container_name(req: Request) -> bytes:
    """The container's name. Raises Invalid for one that is too long."""
    name = req.params["container"].encode()
    if len(name) > CONTAINER_NAME_MOST_BYTES:
        raise Invalid(f"Container name length of {len(name)} longer than {CONTAINER_NAME_MOST_BYTES}")
    return name


def read_changes(req: Request) -> ContainerChanges:
    """What a PUT or POST says of a container. Raises Invalid."""
    for name in KEPT:
        if req.headers.get(name):
            raise Invalid(f"{name} is not supported.")
    policy = req.headers.get("X-Storage-Policy", "")
    if policy and policy.lower() != POLICY.lower():
        raise Invalid(f'Invalid X-Storage-Policy "{policy}"')
    headers = read_metadata(req, "Container")
    check_container_headers(headers)
    return ContainerChanges(
        headers=headers,
        read_acl=_read_acl(req, "Read"),
        write_acl=_read_acl(req, "Write"),
    )


def _read_acl(req: Request, kind: str) -> str | None:
    name = f"X-Container-{kind}"
    if f"X-Remove-Container-{kind}" in req.headers:
        return ""
    text = req.headers.get(name)
    return None if text is None else clean_acl(name.lower(), text)


def container_headers(req: Request, container: ObjectContainer) -> Headers:
    """What a GET or HEAD says of a container; its access lists are for its owners."""
    headers: Headers = [
        ("X-Container-Object-Count", str(container.object_count)),
        ("X-Container-Bytes-Used", str(container.bytes_used)),
        ("X-Timestamp", timestamp(container.created_at_us)),
        ("X-Put-Timestamp", timestamp(container.updated_at_us)),
        ("Last-Modified", http_date(last_modified_us(container.updated_at_us))),
        ("Accept-Ranges", "bytes"),
        ("X-Storage-Policy", POLICY),
        *container.headers.items(),
    ]
    if req.context.project_id == container.project_id:
        for name, acl in (("X-Container-Read", container.read_acl), ("X-Container-Write", container.write_acl)):
            if acl:
                headers.append((name, acl))
    return headers


def object_entry(stored: StoredObject) -> dict[str, Any]:
    """An object in a listing."""
    entry: dict[str, Any] = {
        "name": stored.name.decode(),
        "hash": stored.etag,
        "bytes": stored.size_bytes,
        "content_type": stored.content_type,
        "last_modified": to_datetime(stored.created_at_us).strftime("%Y-%m-%dT%H:%M:%S.%f"),
    }
    if stored.kind is BodyKind.STATIC:
        entry["slo_etag"] = shown_etag(stored)
    return entry


def _name_of(stored: StoredObject) -> bytes:
    return stored.name


@OBJECT.route(
    "PUT",
    _PATH,
    policy="object:container:put",
    rule=Rule.PUBLIC,
    status=201,
    streams=True,
    summary="Make a container, or change one",
)
async def create_container(req: Request) -> Reply:
    project_id = await admit(req, Access.OWN)
    made = await req.run(put_container, project_id, container_name(req), read_changes(req))
    return Reply(b"", status=201 if made else 202, content_type=TEXT)


@OBJECT.route(
    "POST",
    _PATH,
    policy="object:container:post",
    rule=Rule.PUBLIC,
    status=204,
    streams=True,
    summary="Change a container's metadata and access lists",
)
async def update_container_metadata(req: Request) -> Reply:
    project_id = await admit(req, Access.OWN)
    await req.run(update_container, project_id, container_name(req), read_changes(req))
    return Reply(headers=[("Content-Type", TEXT)])


@OBJECT.route(
    "HEAD",
    _PATH,
    policy="object:container:head",
    rule=Rule.PUBLIC,
    status=204,
    summary="Show what a container holds",
)
async def head_container(req: Request) -> Reply:
    project_id = await admit(req, Access.LIST)
    container = await req.read(get_container, project_id, container_name(req))
    return Reply(headers=[*container_headers(req, container), ("Content-Type", PLAIN)])


@OBJECT.route("GET", _PATH, policy="object:container:get", rule=Rule.PUBLIC, query=LIST_QUERY, summary="List objects")
async def list_container(req: Request) -> Reply:
    project_id = await admit(req, Access.LIST)
    name = container_name(req)
    container, listing = await req.read(list_objects, project_id, name, read_query(req, paths=True))
    return listing_reply(
        req,
        listing.entries,
        _name_of,
        object_entry,
        root="container",
        tag="object",
        title=name,
        headers=container_headers(req, container),
    )


@OBJECT.route(
    "DELETE",
    _PATH,
    policy="object:container:delete",
    rule=Rule.PUBLIC,
    status=204,
    summary="Remove an empty container",
)
async def remove_container(req: Request) -> Reply:
    project_id = await admit(req, Access.OWN)
    await req.run(delete_container, project_id, container_name(req))
    return Reply(headers=[("Content-Type", TEXT)])
