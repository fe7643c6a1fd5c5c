"""The actions of ``/servers/{id}/action`` that move a server: their bodies at each microversion, and what they do."""

from __future__ import annotations

from typing import Any

from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import BOOLEAN, STRING, Validator, nullable, strict
from ostro.http.targets import authorize
from ostro.services.compute.evacuation import begin_evacuation
from ostro.services.compute.live_migration import begin_live_migration
from ostro.services.compute.resizing import begin_cold_migration, begin_resize, begin_revert, confirm

POLICY = "os_compute_api:os-migrate-server"
CHOOSING = {f"{POLICY}:migrate:host": Rule.ADMIN, f"{POLICY}:migrate_live:host": Rule.ADMIN}
"""Who manages a project may move its servers, but only an administrator says whereto."""

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
    if value["host"] is not None:
        await authorize(req, f"{POLICY}:migrate_live:host", Rule.ADMIN)
    block = None if value["block_migration"] == "auto" else flag(value["block_migration"])
    await req.run(begin_live_migration, req.cloud.placement, server_id, value["host"], block=block)
    return Reply(status=202)


_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
EVACUATE_1 = Validator(strict({"host": _NAME, "onSharedStorage": _FLAG, "adminPass": STRING}, ("onSharedStorage",)))
EVACUATE_14 = Validator(strict({"host": _NAME, "adminPass": STRING}))
EVACUATE_29 = Validator(strict({"host": _NAME, "adminPass": STRING, "force": _FLAG}))


async def evacuate(req: Request, server_id: str, value: Any) -> Reply:
    """``evacuate``. Which disks are kept is what they are; a password isn't set."""
    if not req.at_least(2, 14):
        EVACUATE_1.check(value)
    elif req.at_least(2, 29) and not req.at_least(2, 68):
        EVACUATE_29.check(value)
    else:
        EVACUATE_14.check(value)
    stay_off = req.at_least(2, 95)
    await req.run(begin_evacuation, req.cloud.placement, server_id, value.get("host"), stay_off=stay_off)
    if req.at_least(2, 14):
        return Reply(status=200)
    return Reply({"adminPass": value.get("adminPass", "")}, status=200)


NULL = Validator({"type": ["null", "object"], "maxProperties": 0})
MIGRATE_56 = Validator({"anyOf": [{"type": "null"}, strict({"host": HOST})]})
RESIZE = Validator(
    strict(
        {
            "flavorRef": {"type": ["string", "integer"], "minLength": 1},
            "OS-DCF:diskConfig": {"enum": ["AUTO", "MANUAL"]},
        },
        ("flavorRef",),
    )
)


async def migrate(req: Request, server_id: str, value: Any) -> Reply:
    """``migrate``: to be confirmed, as a resize is."""
    (MIGRATE_56 if req.at_least(2, 56) else NULL).check(value)
    host = (value or {}).get("host")
    if host is not None:
        await authorize(req, f"{POLICY}:migrate:host", Rule.ADMIN)
    await req.run(begin_cold_migration, req.cloud.placement, server_id, host)
    return Reply(status=202)


async def resize(req: Request, server_id: str, value: Any) -> Reply:
    """``resize``. The guest is left to grow its own file system, whatever ``OS-DCF:diskConfig`` says."""
    RESIZE.check(value)
    await req.run(begin_resize, req.cloud.placement, server_id, str(value["flavorRef"]))
    return Reply(status=202)


async def confirm_resize(req: Request, server_id: str, value: Any) -> Reply:
    """``confirmResize``."""
    NULL.check(value)
    await req.run(confirm, req.cloud.placement, server_id)
    return Reply(status=204)


async def revert_resize(req: Request, server_id: str, value: Any) -> Reply:
    """``revertResize``."""
    NULL.check(value)
    await req.run(begin_revert, server_id)
    return Reply(status=202)
