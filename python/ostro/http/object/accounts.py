"""``/v1/AUTH_{account}``: a project's account, and the list of its containers."""

from __future__ import annotations

from typing import Any

from ostro.http.object.headers import PLAIN, TEXT, read_metadata, timestamp
from ostro.http.object.listings import LIST_QUERY, listing_reply, read_query
from ostro.http.object.service import OBJECT, admit
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Headers
from ostro.model.times import to_datetime
from ostro.services.object.accounts import AccountDetails, get_account, list_containers, update_account
from ostro.services.object.acls import Access
from ostro.services.object.limits import POLICY
from ostro.services.object.quotas import check_account_headers
from ostro.store.object_containers import ObjectContainer

_PATH = "/v1/AUTH_{account}"


def account_headers(details: AccountDetails) -> Headers:
    """What a GET or HEAD says of an account."""
    headers: Headers = [
        ("X-Account-Container-Count", str(details.containers)),
        ("X-Account-Object-Count", str(details.objects)),
        ("X-Account-Bytes-Used", str(details.bytes_used)),
        ("Accept-Ranges", "bytes"),
        *details.account.headers.items(),
    ]
    policy = f"X-Account-Storage-Policy-{POLICY}"
    headers += [
        (f"{policy}-Container-Count", str(details.containers)),
        (f"{policy}-Object-Count", str(details.objects)),
        (f"{policy}-Bytes-Used", str(details.bytes_used)),
    ]
    at = timestamp(details.account.created_at_us)
    return [*headers, ("X-Timestamp", at), ("X-Put-Timestamp", at)]


def container_entry(container: ObjectContainer) -> dict[str, Any]:
    """A container in a listing."""
    return {
        "name": container.name.decode(),
        "count": container.object_count,
        "bytes": container.bytes_used,
        "last_modified": to_datetime(container.created_at_us).strftime("%Y-%m-%dT%H:%M:%S.%f"),
    }


def _name_of(container: ObjectContainer) -> bytes:
    return container.name


@OBJECT.route(
    "HEAD", _PATH, policy="object:account:head", rule=Rule.PUBLIC, status=204, summary="Show what an account holds"
)
async def head_account(req: Request) -> Reply:
    project_id = await admit(req, Access.LOOK)
    details = await req.read(get_account, project_id)
    return Reply(headers=[*account_headers(details), ("Content-Type", PLAIN)])


@OBJECT.route("GET", _PATH, policy="object:account:get", rule=Rule.PUBLIC, query=LIST_QUERY, summary="List containers")
async def list_account(req: Request) -> Reply:
    project_id = await admit(req, Access.LOOK)
    details, listing = await req.read(list_containers, project_id, read_query(req, paths=False))
    return listing_reply(
        req,
        listing.entries,
        _name_of,
        container_entry,
        root="account",
        tag="container",
        title=f"AUTH_{project_id}".encode(),
        headers=account_headers(details),
    )


@OBJECT.route(
    "POST",
    _PATH,
    policy="object:account:post",
    rule=Rule.PUBLIC,
    status=204,
    streams=True,
    summary="Change an account's metadata",
)
async def update_account_metadata(req: Request) -> Reply:
    project_id = await admit(req, Access.OWN)
    changes = read_metadata(req, "Account")
    check_account_headers(req.context, changes)
    await req.run(update_account, project_id, changes)
    return Reply(headers=[("Content-Type", TEXT)])
