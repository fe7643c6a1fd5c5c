"""The actions of ``/servers/{id}/action`` that move a server: their bodies at each microversion, and what they do."""

from __future__ import annotations

from typing import Any

from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, Validator, nullable, strict
from ostro.services.compute.live_migration import begin_live_migration

HOST = nullable({"type": "string", "minLength": 1, "maxLength": 255})
AUTO = {"anyOf": [BOOLEAN, {"enum": ["auto", "True", "False", "true", "false"]}]}
_FLAG = {"anyOf": [BOOLEAN, {"enum": ["True", "False", "true", "false"]}]}

LIVE_1 = Validator(
    strict(
        {"host": HOST, "block_migration": _FLAG, "disk_over_commit": _FLAG},
        ("host", "block_migration", "disk_over_commit"),
    )
)
LIVE_25 = Validator(strict({"host": HOST, "block_migration": AUTO}, ("host", "block_migration")))
LIVE_30 = Validator(strict({"host": HOST, "block_migration": AUTO, "force": _FLAG}, ("host", "block_migration")))


def flag(value: Any) -> bool:
    """A boolean as old clients write it, too."""
    return value if isinstance(value, bool) else str(value).lower() == "true"


async def migrate_live(req: Request, server_id: str, value: Any) -> Reply:
    """``os-migrateLive``. Whether disks can be copied at all is always looked at, so ``force`` adds nothing."""
    if not req.at_least(2, 25):
        LIVE_1.check(value)
    elif req.at_least(2, 30) and not req.at_least(2, 68):
        LIVE_30.check(value)
    else:
        LIVE_25.check(value)
    block = None if value["block_migration"] == "auto" else flag(value["block_migration"])
    await req.run(begin_live_migration, req.cloud.placement, server_id, value["host"], block=block)
    return Reply(status=202)
