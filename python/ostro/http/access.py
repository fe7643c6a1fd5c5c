"""Access rules of application credentials: which calls a token may make at all, whatever its roles.

A rule is a service type, a method and a path as the service sees it (``/v2.1/servers``), where ``*`` and ``{anything}`` stand for one part and ``**``
for the rest. Source: keystonemiddleware's documentation.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ostro.model.context import Actor
from ostro.model.errors import Forbidden

TYPES: dict[str, frozenset[str]] = {
    "identity": frozenset(("identity",)),
    "compute": frozenset(("compute",)),
    "placement": frozenset(("placement",)),
    "network": frozenset(("network",)),
    "image": frozenset(("image",)),
    "volume": frozenset(("block-storage", "volumev3", "volume")),
    "object": frozenset(("object-store",)),
}
"""Our services -> the types by which rules name them."""
_WILD = re.compile(r"\*\*|\*|\{[^}]*\}")


@lru_cache(maxsize=4096)
def _pattern(path: str) -> re.Pattern[str]:
    parts: list[str] = []
    end = 0
    for found in _WILD.finditer(path):
        parts += [re.escape(path[end : found.start()]), ".*" if found[0] == "**" else "[^/]+"]
        end = found.end()
    return re.compile("".join((*parts, re.escape(path[end:]))))


def check_access_rules(service: str, public: bool, method: str, path: str, actor: Actor) -> None:
    """Raise Forbidden unless one of the rules of the actor's token covers the call.

    What needs no token needs no rule either, but for the object store, whose routes are public because containers' own lists decide.
    """
    if actor.access_rules is None or (public and service != "object"):
        return
    types = TYPES.get(service, frozenset())
    method = "GET" if method == "HEAD" else method
    below = "/" + path.lstrip("/").partition("/")[2]
    for type_, allowed, rule_path in actor.access_rules:
        if type_ in types and allowed == method and _pattern(rule_path).fullmatch(below):
            return
    raise Forbidden("The application credential of this token does not allow this call.")
