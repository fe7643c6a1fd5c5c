"""``/v2.0/{collection}/{id}/tags`` of networks, subnets, ports and security groups."""

from __future__ import annotations

from typing import Any

from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, array, shape, strict
from ostro.services.network.tags import (
    TAGS_MOST,
    add_tags,
    check_tag,
    list_tags,
    remove_tag,
    remove_tags,
    replace_tags,
)

COLLECTIONS = {"networks": "network", "subnets": "subnet", "ports": "port", "security-groups": "security_group"}
BODY = strict({"tags": array({"type": "string", "maxLength": 255}, maxItems=TAGS_MOST)}, ("tags",))
VIEW = shape({"tags": array(STRING)})


def _declare(collection: str, noun: str) -> None:
    """The seven operations on the tags of one noun."""
    path = f"{V2}/{collection}/{{object_id}}/tags"
    words = noun.replace("_", " ")

    async def index(req: Request) -> Reply:
        return Reply({"tags": await req.read(list_tags, collection, req.params["object_id"])})

    async def replace(req: Request) -> Reply:
        return Reply({"tags": await req.run(replace_tags, collection, req.params["object_id"], req.body["tags"])})

    async def add(req: Request) -> Reply:
        return Reply({"tags": await req.run(add_tags, collection, req.params["object_id"], req.body["tags"])})

    async def clear(req: Request) -> Reply:
        await req.run(remove_tags, collection, req.params["object_id"])
        return Reply()

    async def check(req: Request) -> Reply:
        await req.read(check_tag, collection, req.params["object_id"], req.params["tag"])
        return Reply()

    async def add_one(req: Request) -> Reply:
        await req.run(add_tags, collection, req.params["object_id"], [req.params["tag"]])
        return Reply()

    async def remove(req: Request) -> Reply:
        await req.run(remove_tag, collection, req.params["object_id"], req.params["tag"])
        return Reply()

    one = f"{path}/{{tag}}"
    with_body: dict[str, Any] = {"body": BODY, "response": VIEW}
    for method, where, handler, verb, plural, status, more in (
        ("GET", path, index, "get", True, 200, {"response": VIEW}),
        ("PUT", path, replace, "update", True, 200, with_body),
        ("POST", path, add, "create", True, 201, with_body),
        ("DELETE", path, clear, "delete", True, 204, {}),
        ("GET", one, check, "get", False, 204, {}),
        ("PUT", one, add_one, "update", False, 201, {}),
        ("DELETE", one, remove, "delete", False, 204, {}),
    ):
        handler.__name__ = f"{verb}_{noun}_{'tags' if plural else 'tag'}"
        NETWORK.route(
            method,
            where,
            policy=f"network:{verb}_{noun}:tags",
            rule=Rule.READER if method == "GET" else Rule.MEMBER,
            status=status,
            summary=f"{verb.capitalize()} {'the tags' if plural else 'one tag'} of a {words}",
            **more,
        )(handler)


for _collection, _noun in COLLECTIONS.items():
    _declare(_collection, _noun)
