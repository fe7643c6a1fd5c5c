"""Short ways through the network API for tests: each makes one object and returns it as the API shows it."""

from __future__ import annotations

from typing import Any

from ostro.model.registration import Inventory
from ostro.model.wishes import Feed, Noun
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, Host
from ostro.store.wishes import read_feed
from ostro.testing.cloud import Answer, ApiClient

ROOT = "/networking/v2.0"


async def make(client: ApiClient, collection: str, **attributes: Any) -> dict[str, Any]:
    """POST one object; the answer must be 201."""
    noun = collection.replace("-", "_").removesuffix("s")
    answer = await client.post(f"{ROOT}/{collection}", {noun: attributes})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json[noun]
    return made


async def change(client: ApiClient, collection: str, id_: str, **attributes: Any) -> dict[str, Any]:
    """PUT changes; the answer must be 200."""
    noun = collection.replace("-", "_").removesuffix("s")
    answer = await client.put(f"{ROOT}/{collection}/{id_}", {noun: attributes})
    assert answer.status == 200, answer.body
    changed: dict[str, Any] = answer.json[noun]
    return changed


async def listed(client: ApiClient, path: str) -> list[dict[str, Any]]:
    """GET a list below the root; what is in it."""
    answer = await client.get(f"{ROOT}/{path}")
    assert answer.status == 200, answer.body
    items: list[dict[str, Any]] = answer.json[path.partition("?")[0].replace("-", "_")]
    return items


async def make_net(
    client: ApiClient, cidr: str = "10.1.0.0/24", **subnet: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network and its subnet."""
    network = await make(client, "networks", name="net")
    return network, await make(client, "subnets", network_id=network["id"], ip_version=4, cidr=cidr, **subnet)


def kind_of(answer: Answer) -> str:
    """The type of an error."""
    kind: str = answer.json["NeutronError"]["type"]
    return kind


def new_host(name: str, tunnel_ip: str = "127.0.0.1") -> Host:
    """A host's row; its id is ``id-<name>``."""
    inventory = Inventory(4, 8192, 100, "fake", 1, "{}")
    return Host("id-" + name, name, 1, "one", tunnel_ip, inventory, True, "", 0, 0)


def add_hosts(tx: Tx, *names: str) -> None:
    """Register hosts without agents; their tunnel addresses are 127.0.0.1, 127.0.0.2 and so on."""
    for number, name in enumerate(names, 1):
        HOSTS.insert(tx, new_host(name, f"127.0.0.{number}"))


def feed_of(tx: Tx, host_id: str) -> dict[tuple[Noun, str], int]:
    """What a host is wished to have: the generation of each object."""
    feed: Feed | None = read_feed(tx, host_id, 0, 1)
    assert feed is not None
    return {(wish.noun, wish.id): wish.generation for wish in feed.wishes if wish.body is not None}
