"""What an audit record says, in CADF's terms (DSP0262): initiator, action, target, outcome, observer.

Nothing of a request's body, query or headers gets into a record but the client's name of itself, so there is no place for a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ostro.model.context import Actor
from ostro.model.times import iso_micro

EVENT_TYPE = "http://schemas.dmtf.org/cloud/audit/1.0/event"
USER_TYPE = "service/security/account/user"
AGENT_MOST = 200
PATH_MOST = 1024
SUCCESS, FAILURE = "success", "failure"


@dataclass(frozen=True, slots=True)
class Deed:
    """What a route does, in CADF's words; the same for every request of it. ``observer`` is the service.

    With ``creates`` the target is what the change has made, rather than what the path names.
    """

    action: str
    target_type: str
    observer: str
    creates: bool = False


@dataclass(slots=True)
class Trail:
    """One request, as its records will tell of it. ``target_id`` may be empty until the change has given one.

    ``written`` once a record has been committed with the change itself.
    """

    deed: Deed
    actor: Actor
    request_id: str
    at_us: int
    address: str
    agent: str
    path: str
    action: str
    target_id: str
    written: bool = False

    def event(self, id_: str, outcome: str, *, target_id: str = "", code: int = 0, count: int = 1) -> str:
        """The record as JSON. ``count`` is how many equal attempts it stands for."""
        actor = self.actor
        initiator: dict[str, Any] = {
            "id": actor.user_id or "unknown",
            "typeURI": USER_TYPE,
            "name": actor.user_name,
            "host": {"address": self.address, "agent": self.agent[:AGENT_MOST]},
            "request_id": self.request_id,
        }
        if actor.project_id:
            initiator["project_id"] = actor.project_id
        if actor.domain_id:
            initiator["domain_id"] = actor.domain_id
        if actor.system:
            initiator["system_scope"] = "all"
        if actor.application_credential_id:
            initiator["application_credential_id"] = actor.application_credential_id
        if actor.trust_id:
            initiator["trust_id"] = actor.trust_id
        event: dict[str, Any] = {
            "typeURI": EVENT_TYPE,
            "id": id_,
            "eventType": "activity",
            "eventTime": iso_micro(self.at_us) + "+0000",
            "action": self.action,
            "outcome": outcome,
            "initiator": initiator,
            "target": {"id": target_id or self.target_id or "unknown", "typeURI": self.deed.target_type},
            "observer": {"id": self.deed.observer, "typeURI": f"service/{self.deed.observer}"},
            "requestPath": self.path[:PATH_MOST],
        }
        if code:
            event["reason"] = {"reasonCode": str(code), "reasonType": "HTTP"}
        if count > 1:
            event["count"] = count
        return msgspec.json.encode(event).decode()


def id_in(result: object) -> str:
    """The id of what a transaction returned: an object, or the first of several; empty when it has none."""
    if isinstance(result, list | tuple) and result:
        result = result[0]
    found = getattr(result, "id", "")
    return found if isinstance(found, str) else ""
