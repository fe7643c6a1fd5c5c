"""What each route does, as the audit log names it.

Targets' types are the paths without their parameters; actions are CADF's: create, update, delete, read, authenticate. Of a request to ``.../action``
the action's own name follows, as in ``update/reboot``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostro.http.exchange import Incoming
from ostro.http.route import Route, Service
from ostro.model.context import Actor
from ostro.services.audit.events import Deed, Trail

READS = frozenset(("GET", "HEAD", "OPTIONS"))
UNRECORDED = frozenset(("agent", "health", "docs"))
"""Services whose calls are no deeds of users: what hosts report, and what only reads."""
AUTHENTICATIONS = frozenset(("/v3/auth/tokens", "/v3/ec2tokens", "/v3/s3tokens", "/v3/OS-OAUTH2/token"))
FEDERATED = frozenset(
    (
        "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth",
        "/v3/auth/OS-FEDERATION/oidc/callback",
    )
)
"""Logins by an identity provider, which browsers do with GET."""
_ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete", "COPY": "create"}
ACTION_MOST = 64


def deed_of(service: Service, route: Route) -> Deed:
    """The deed of a route."""
    words = [word for word in route.path.split("/") if word and not word.startswith("{") and not _is_version(word)]
    is_action = route.method == "POST" and words[-1:] == ["action"]
    if is_action:
        words.pop()
    action = "update" if is_action else _ACTIONS.get(route.method, "read")
    if route.path in FEDERATED or (route.method == "POST" and route.path in AUTHENTICATIONS):
        action = "authenticate"
    return Deed(
        action,
        "/".join(["service", service.name, *words]),
        service.name,
        action == "create" and not route.path.endswith("}"),
    )


def _is_version(word: str) -> bool:
    return word[:1] == "v" and word[1:2].isdigit()


def begin_trail(
    deed: Deed, raw: Incoming, params: Mapping[str, str], actor: Actor, request_id: str, at_us: int, body: Any = None
) -> Trail:
    """The trail of a request. The target is the last thing that its path names."""
    action = deed.action
    if action == "update" and raw.method == "POST" and isinstance(body, dict) and body:
        action = f"update/{str(next(iter(body)))[:ACTION_MOST]}"
    named = [value for name, value in params.items() if name != "url_project_id"]
    address = raw.remote_addr or ""
    return Trail(
        deed,
        actor,
        request_id,
        at_us,
        address,
        raw.headers.get("User-Agent", ""),
        raw.path,
        action,
        named[-1] if named else "",
    )


def who_logged_in(answer: Any, actor: Actor) -> Actor:
    """Whom a new token is for; ``actor`` when the answer has none."""
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, dict) or "user" not in token:
        return actor
    user, project, domain = token["user"], token.get("project") or {}, token.get("domain") or {}
    return Actor(
        user["id"],
        user["name"],
        user["domain"]["id"],
        user["domain"].get("name") or "",
        project_id=project.get("id", ""),
        domain_id=domain.get("id", ""),
        system="system" in token,
    )
