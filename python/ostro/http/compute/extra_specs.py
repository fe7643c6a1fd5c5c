"""``/flavors/{id}/os-extra_specs``: what a flavor asks of its hosts beyond its size."""

from __future__ import annotations

from ostro.http.compute.service import COMPUTE
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, shape, strict
from ostro.model.errors import Invalid
from ostro.services.compute import flavors

_KEY = "^[a-zA-Z0-9-_:. ]{1,255}$"
_VALUE = {"type": ["string", "number"], "maxLength": 255}
SPECS = {"type": "object", "patternProperties": {_KEY: _VALUE}, "additionalProperties": False}
ALL = shape({"extra_specs": ANY_OBJECT})


@COMPUTE.route(
    "GET",
    "/v2.1/flavors/{flavor_id}/os-extra_specs",
    policy="os_compute_api:os-flavor-extra-specs:index",
    rule=Rule.READER,
    response=ALL,
    summary="List a flavor's extra specs",
)
async def list_extra_specs(req: Request) -> Reply:
    flavor = await req.read(flavors.get_flavor, req.params["flavor_id"])
    return Reply({"extra_specs": flavor.extra_specs})


@COMPUTE.route(
    "POST",
    "/v2.1/flavors/{flavor_id}/os-extra_specs",
    policy="os_compute_api:os-flavor-extra-specs:create",
    rule=Rule.ADMIN,
    body=strict({"extra_specs": SPECS}, ("extra_specs",)),
    response=ALL,
    summary="Set extra specs of a flavor",
)
async def create_extra_specs(req: Request) -> Reply:
    given = {key: str(value) for key, value in req.body["extra_specs"].items()}
    await req.run(flavors.set_extra_specs, req.params["flavor_id"], given)
    return Reply({"extra_specs": given})


@COMPUTE.route(
    "GET",
    "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}",
    policy="os_compute_api:os-flavor-extra-specs:show",
    rule=Rule.READER,
    response=ANY_OBJECT,
    summary="Show one extra spec",
)
async def show_extra_spec(req: Request) -> Reply:
    key = req.params["key"]
    return Reply({key: await req.read(flavors.get_extra_spec, req.params["flavor_id"], key)})


@COMPUTE.route(
    "PUT",
    "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}",
    policy="os_compute_api:os-flavor-extra-specs:update",
    rule=Rule.ADMIN,
    body={**SPECS, "minProperties": 1, "maxProperties": 1},
    response=ANY_OBJECT,
    summary="Set one extra spec",
)
async def update_extra_spec(req: Request) -> Reply:
    key = req.params["key"]
    if key not in req.body:
        raise Invalid("Request body and URI mismatch")
    value = str(req.body[key])
    await req.run(flavors.set_extra_specs, req.params["flavor_id"], {key: value})
    return Reply({key: value})


@COMPUTE.route(
    "DELETE",
    "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}",
    policy="os_compute_api:os-flavor-extra-specs:delete",
    rule=Rule.ADMIN,
    summary="Remove one extra spec",
)
async def delete_extra_spec(req: Request) -> Reply:
    await req.run(flavors.delete_extra_spec, req.params["flavor_id"], req.params["key"])
    return Reply()
