"""Lists that clients ask for unconditionally, of things that this service doesn't have: always empty.

None of their extensions is announced, and nothing can be created in them.
"""

from __future__ import annotations

from ostro.http.network.service import NETWORK, V2
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape

COLLECTIONS = {"routers": "routers", "floatingips": "floating IPs", "service-providers": "service providers"}


def _declare(collection: str, words: str) -> None:
    """A list that is always empty."""
    key = collection.replace("-", "_")

    async def index(req: Request) -> Reply:
        return Reply({key: []})

    index.__name__ = f"list_{key}"
    NETWORK.route(
        "GET",
        f"{V2}/{collection}",
        policy=f"network:get_{key.rstrip('s')}",
        rule=Rule.READER,
        response=shape({key: array(ANY_OBJECT)}),
        summary=f"List {words}, of which there are none",
    )(index)


for _collection, _words in COLLECTIONS.items():
    _declare(_collection, _words)
