"""Identity's service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ostro.http.faults import identity_shape
from ostro.http.identity.whole import whole
from ostro.http.policy import Rule
from ostro.http.request import Request
from ostro.http.route import Handler, Schema, Service
from ostro.model.errors import Forbidden

TOKENS = "/v3/auth/tokens"


class IdentityService(Service):
    """A service whose lists are whole unless a limit is given."""

    def route(
        self, method: str, path: str, *, query: Mapping[str, Schema] | None = None, **more: Any
    ) -> Callable[[Handler], Handler]:
        """As ``Service.route``."""
        declare = super().route(method, path, query=query, **more)
        if method != "GET" or query is None or "marker" not in query:
            return declare
        return lambda handler: declare(whole(handler))


def check_not_signed(request: Request) -> None:
    """Raise Forbidden for a token that an EC2 or S3 signature was exchanged for: it is for the services that take such signatures, and
    Identity only tells what it is worth, and takes it back."""
    route = request.route
    if "ec2credential" in request.context.actor.methods and route.path != TOKENS and route.rule is not Rule.PUBLIC:
        raise Forbidden("A token that a signature was exchanged for is not good here.")


IDENTITY = IdentityService("identity", ("/identity",), identity_shape, title="Identity API v3", check=check_not_signed)
