"""``/servers/{id}/action``: one verb in the body.

``ACTIONS`` is the whole list. A verb of upstream's that this cloud does not do is 501, one that nobody knows is 400.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ostro.http.asks import await_answer
from ostro.http.compute.moving_actions import (
    CHOOSING,
    confirm_resize,
    evacuate,
    migrate,
    migrate_live,
    resize,
    revert_resize,
)
from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, Validator, nullable, strict
from ostro.http.targets import authorize
from ostro.model.context import Context
from ostro.model.errors import Invalid, Unsupported
from ostro.services.compute import consoles, power
from ostro.services.compute.deletion import delete_server
from ostro.services.compute.servers import UNLOCK
from ostro.services.compute.visibility import get_server
from ostro.store.database import Tx

Act = Callable[[Request, str, Any], Awaitable[Reply]]


@dataclass(frozen=True)
class Action:
    """One verb: what its value must look like, who may, and what it does."""

    policy: str
    rule: Rule
    value: Validator
    act: Act


NULL = nullable(ANY_OBJECT)
ANYTHING: dict[str, Any] = {}
"""What the action looks at by itself, because it differs from version to version."""
REBOOT = strict({"type": {"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}}, ("type",))
LENGTH = {"anyOf": [{"type": "integer", "minimum": -1}, {"type": "string", "pattern": "^-?[0-9]+$"}, {"type": "null"}]}


async def _start(req: Request, server_id: str, _value: Any) -> Reply:
    await req.run(power.start_server, server_id)
    return Reply(status=202)


async def _stop(req: Request, server_id: str, _value: Any) -> Reply:
    await req.run(power.stop_server, server_id)
    return Reply(status=202)


async def _reboot(req: Request, server_id: str, value: Any) -> Reply:
    await req.run(power.reboot_server, server_id, hard=value["type"].upper() == "HARD")
    return Reply(status=202)


async def _lock(req: Request, server_id: str, value: Any) -> Reply:
    await req.run(power.lock_server, server_id, (value or {}).get("locked_reason"))
    return Reply(status=202)


async def _unlock(req: Request, server_id: str, _value: Any) -> Reply:
    await req.run(power.unlock_server, server_id)
    return Reply(status=202)


async def _reset_state(req: Request, server_id: str, value: Any) -> Reply:
    await req.run(power.reset_state, server_id, error=value["state"] == "error")
    return Reply(status=202)


async def _force_delete(req: Request, server_id: str, _value: Any) -> Reply:
    await req.run(delete_server, req.cloud.placement, req.cloud.world.faults, server_id)
    return Reply(status=202)


async def _console_output(req: Request, server_id: str, value: Any) -> Reply:
    """Ask the host and wait for its answer, at most ``CONSOLE_WAIT_S``."""
    length = value.get("length")
    lines = -1 if length is None else int(length)
    if lines < -1:
        raise Invalid(f"Invalid input for field/attribute length. Value: {length}.")

    def ask(tx: Tx, context: Context, ask_id: str) -> str:
        return consoles.ask_console(tx, context, server_id, ask_id, lines)

    return Reply({"output": await await_answer(req, ask)}, status=200)


def _action(policy: str, rule: Rule, schema: Mapping[str, Any], act: Act) -> Action:
    return Action(f"os_compute_api:{policy}", rule, Validator(schema), act)


ACTIONS: dict[str, Action] = {
    "os-start": _action("servers:start", Rule.MEMBER, NULL, _start),
    "os-stop": _action("servers:stop", Rule.MEMBER, NULL, _stop),
    "reboot": _action("servers:reboot", Rule.MEMBER, REBOOT, _reboot),
    "lock": _action(
        "os-lock-server:lock",
        Rule.MEMBER,
        nullable(strict({"locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}})),
        _lock,
    ),
    "unlock": _action("os-lock-server:unlock", Rule.MEMBER, NULL, _unlock),
    "os-resetState": _action(
        "os-admin-actions:reset_state",
        Rule.ADMIN,
        strict({"state": {"enum": ["active", "error"]}}, ("state",)),
        _reset_state,
    ),
    "os-migrateLive": _action("os-migrate-server:migrate_live", Rule.MANAGER, ANYTHING, migrate_live),
    "evacuate": _action("os-evacuate", Rule.ADMIN, ANYTHING, evacuate),
    "migrate": _action("os-migrate-server:migrate", Rule.MANAGER, ANYTHING, migrate),
    "resize": _action("servers:resize", Rule.MEMBER, ANYTHING, resize),
    "confirmResize": _action("servers:confirm_resize", Rule.MEMBER, ANYTHING, confirm_resize),
    "revertResize": _action("servers:revert_resize", Rule.MEMBER, ANYTHING, revert_resize),
    "forceDelete": _action("os-deferred-delete:force", Rule.MEMBER, NULL, _force_delete),
    "os-getConsoleOutput": _action(
        "os-console-output", Rule.MEMBER, {"type": "object", "properties": {"length": LENGTH}}, _console_output
    ),
}
UNSUPPORTED = frozenset(
    (
        "addFixedIp",
        "addFloatingIp",
        "addSecurityGroup",
        "changePassword",
        "createBackup",
        "createImage",
        "injectNetworkInfo",
        "os-getRDPConsole",
        "os-getSPICEConsole",
        "os-getSerialConsole",
        "os-getVNCConsole",
        "pause",
        "rebuild",
        "removeFixedIp",
        "removeFloatingIp",
        "removeSecurityGroup",
        "rescue",
        "resetNetwork",
        "restore",
        "resume",
        "shelve",
        "shelveOffload",
        "suspend",
        "trigger_crash_dump",
        "unpause",
        "unrescue",
        "unshelve",
    )
)
BODY = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": STRING,
}


@COMPUTE.route(
    "POST",
    "/v2.1/servers/{server_id}/action",
    policy="os_compute_api:servers:action",
    rule=Rule.MEMBER,
    status=202,
    body=BODY,
    response=ANY_OBJECT,
    actions={name: (action.policy, action.rule) for name, action in ACTIONS.items()},
    also=CHOOSING | {UNLOCK: Rule.ADMIN},
    summary="Do something with a server; each action has a policy of its own",
)
async def act_on_server(req: Request) -> Reply:
    [(name, value)] = req.body.items()
    if name in UNSUPPORTED:
        await req.read(get_server, req.params["server_id"])
        raise Unsupported(f"The action {name} is not supported.")
    if name not in ACTIONS:
        raise Invalid(f"There is no such action: {name}")
    action = ACTIONS[name]
    await authorize(req, action.policy, action.rule)
    action.value.check(value)
    return await action.act(req, req.params["server_id"], value)
