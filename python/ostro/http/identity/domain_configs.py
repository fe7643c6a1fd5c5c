"""``/v3/domains/{domain_id}/config`` and ``/v3/domains/config/default``."""

from __future__ import annotations

from ostro.http.identity.service import IDENTITY
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape, strict
from ostro.services.identity import domain_configs
from ostro.services.identity.directories import seal_password

BODY = strict({"config": ANY_OBJECT}, ("config",))
ANSWER = shape({"config": {}})
ROOT = "/v3/domains/{domain_id}/config"
LEVELS = (
    ("", "the configuration of a domain"),
    ("/{group}", "a group of a domain's configuration"),
    ("/{group}/{option}", "an option of a domain's configuration"),
)


def _place(req: Request) -> tuple[str, str]:
    return req.params.get("group", ""), req.params.get("option", "")


@IDENTITY.route(
    "PUT",
    ROOT,
    policy="identity:create_domain_config",
    rule=Rule.POLICY,
    body=BODY,
    response=ANSWER,
    summary="Create the configuration of a domain",
)
async def create_config(req: Request) -> Reply:
    given = seal_password(req.cloud.sealer, req.body["config"])
    config, is_new = await req.run(domain_configs.create_config, req.params["domain_id"], given)
    return Reply({"config": config}, 201 if is_new else 200)


@IDENTITY.route(
    "GET",
    ROOT + "/security_compliance",
    policy="identity:get_security_compliance_domain_config",
    rule=Rule.POLICY,
    response=ANSWER,
    summary="Show what passwords must look like",
)
async def show_compliance(req: Request) -> Reply:
    args = (req.params["domain_id"], "", req.cloud.tokens.compliance)
    return Reply({"config": {"security_compliance": await req.read(domain_configs.get_compliance, *args)}})


@IDENTITY.route(
    "GET",
    ROOT + "/security_compliance/{option}",
    policy="identity:get_security_compliance_domain_config",
    rule=Rule.POLICY,
    response=ANSWER,
    summary="Show one rule of what passwords must look like",
)
async def show_compliance_option(req: Request) -> Reply:
    args = (req.params["domain_id"], req.params["option"], req.cloud.tokens.compliance)
    return Reply({"config": await req.read(domain_configs.get_compliance, *args)})


def _declare(suffix: str, words: str) -> None:
    """Show, change and delete on one level."""

    async def show(req: Request) -> Reply:
        return Reply({"config": await req.read(domain_configs.get_config, req.params["domain_id"], *_place(req))})

    async def update(req: Request) -> Reply:
        group, option = _place(req)
        given = seal_password(req.cloud.sealer, req.body["config"], group if option else "")
        config = await req.run(domain_configs.update_config, req.params["domain_id"], given, group, option)
        return Reply({"config": config})

    async def delete(req: Request) -> Reply:
        await req.run(domain_configs.delete_config, req.params["domain_id"], *_place(req))
        return Reply()

    async def show_default(req: Request) -> Reply:
        return Reply({"config": await req.read(domain_configs.get_defaults, *_place(req))})

    level = ("domain_config", "domain_config_group", "domain_config_option")[suffix.count("/")]
    for handler, verb in ((show, "show"), (update, "update"), (delete, "delete")):
        handler.__name__ = f"{verb}_{level}"
    show_default.__name__ = f"show_default_{level}"
    IDENTITY.route(
        "GET",
        "/v3/domains/config" + (suffix or "") + "/default",
        policy="identity:get_domain_config_default",
        rule=Rule.POLICY,
        response=ANSWER,
        summary=f"Show the default of {words}",
    )(show_default)
    IDENTITY.route(
        "GET",
        ROOT + suffix,
        policy="identity:get_domain_config",
        rule=Rule.POLICY,
        response=ANSWER,
        summary=f"Show {words}",
    )(show)
    IDENTITY.route(
        "PATCH",
        ROOT + suffix,
        policy="identity:update_domain_config",
        rule=Rule.POLICY,
        body=BODY,
        response=ANSWER,
        summary=f"Change {words}",
    )(update)
    IDENTITY.route(
        "DELETE",
        ROOT + suffix,
        policy="identity:delete_domain_config",
        rule=Rule.POLICY,
        status=204,
        summary=f"Delete {words}",
    )(delete)


for _suffix, _words in LEVELS:
    _declare(_suffix, _words)
