"""``/servers/{id}/tags`` (2.26)."""

from __future__ import annotations

from ostro.http.compute.server_schemas import TAG, TAGS
from ostro.http.compute.service import COMPUTE, ROOT
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, Validator, array, shape, strict
from ostro.http.versions import Version
from ostro.services.compute import metadata

PATH = "/v2.1/servers/{server_id}/tags"
POLICY = "os_compute_api:os-server-tags"
SINCE = Version(2, 26)
SHOWN = shape({"tags": array(STRING)})
_TAG = Validator(TAG)


@COMPUTE.route("GET", PATH, policy=f"{POLICY}:index", rule=Rule.READER, low=SINCE, response=SHOWN, summary="List tags")
async def list_tags(req: Request) -> Reply:
    return Reply({"tags": await req.read(metadata.list_tags, req.params["server_id"])})


@COMPUTE.route(
    "PUT",
    PATH,
    policy=f"{POLICY}:update_all",
    rule=Rule.MEMBER,
    low=SINCE,
    body=strict({"tags": TAGS}, ("tags",)),
    response=SHOWN,
    summary="Replace all tags",
)
async def replace_tags(req: Request) -> Reply:
    return Reply({"tags": await req.run(metadata.set_tags, req.params["server_id"], req.body["tags"])})


@COMPUTE.route(
    "DELETE", PATH, policy=f"{POLICY}:delete_all", rule=Rule.MEMBER, low=SINCE, status=204, summary="Remove all tags"
)
async def delete_tags(req: Request) -> Reply:
    await req.run(metadata.set_tags, req.params["server_id"], [])
    return Reply()


@COMPUTE.route(
    "GET",
    PATH + "/{tag}",
    policy=f"{POLICY}:show",
    rule=Rule.READER,
    low=SINCE,
    status=204,
    summary="Whether the server has a tag",
)
async def check_tag(req: Request) -> Reply:
    await req.read(metadata.check_tag, req.params["server_id"], req.params["tag"])
    return Reply()


@COMPUTE.route(
    "PUT", PATH + "/{tag}", policy=f"{POLICY}:update", rule=Rule.MEMBER, low=SINCE, status=201, summary="Add a tag"
)
async def add_tag(req: Request) -> Reply:
    server_id, tag = req.params["server_id"], req.params["tag"]
    _TAG.check(tag)
    added = await req.run(metadata.add_tag, server_id, tag)
    if not added:
        return Reply(status=204)
    return Reply(headers=[("Location", f"{req.base_url}{ROOT}/servers/{server_id}/tags/{tag}")])


@COMPUTE.route(
    "DELETE",
    PATH + "/{tag}",
    policy=f"{POLICY}:delete",
    rule=Rule.MEMBER,
    low=SINCE,
    status=204,
    summary="Remove a tag",
)
async def delete_tag(req: Request) -> Reply:
    await req.run(metadata.remove_tag, req.params["server_id"], req.params["tag"])
    return Reply()
