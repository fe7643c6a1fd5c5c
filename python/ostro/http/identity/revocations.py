"""``/v3/OS-REVOKE/events``: which tokens were revoked, for services that validate tokens by themselves."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import LIST_LINKS, list_body, parse_time
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, array, shape
from ostro.model.context import Context
from ostro.model.times import iso_micro_z
from ostro.store.database import Tx
from ostro.store.tokens import Revocation, list_revocations

EVENTS_MOST = 10_000


def _list(tx: Tx, context: Context, since_us: int) -> list[Revocation]:
    context.enforce("identity:list_revoke_events")
    return list_revocations(tx, since_us, EVENTS_MOST)


def view(row: Revocation) -> dict[str, Any]:
    """A revocation as an event."""
    what = "audit_chain_id" if row.whole_chain else "audit_id"
    at = iso_micro_z(row.revoked_at_us)
    return {what: row.audit_id, "issued_before": at, "revoked_at": at}


@IDENTITY.route(
    "GET",
    "/v3/OS-REVOKE/events",
    policy="identity:list_revoke_events",
    rule=Rule.POLICY,
    response=shape({"events": array(ANY_OBJECT), "links": LIST_LINKS}),
    query={"since": STRING},
    summary="List revocations",
)
async def list_events(req: Request) -> Reply:
    rows = await req.read(_list, parse_time("since", req.query.get("since")))
    return Reply(list_body(req, "events", [view(row) for row in rows]))
