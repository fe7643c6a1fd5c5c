"""``/types/{id}/encryption`` and ``/volumes/{id}/encryption``: how volumes are encrypted. A key itself is never shown here."""

from __future__ import annotations

from typing import Any

from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, nullable, shape, strict, wrapped
from ostro.model.errors import NotFound
from ostro.model.times import iso_micro
from ostro.services.block import encryptions as service
from ostro.services.block.encryptions import EncryptionDraft
from ostro.services.block.volumes import get_volume_key
from ostro.store.volume_keys import VolumeKey
from ostro.store.volume_types import TypeEncryption

KEY_SIZE = nullable({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,6}$"}]})
_FIELDS = {
    "provider": {"type": "string", "minLength": 1, "maxLength": 255},
    "control_location": {"enum": ["front-end", "back-end"]},
    "cipher": nullable({"type": "string", "maxLength": 255}),
    "key_size": KEY_SIZE,
}
ENCRYPTION = shape({"encryption": ANY_OBJECT})


def _draft(body: dict[str, Any]) -> EncryptionDraft:
    size = body.get("key_size")
    return EncryptionDraft(
        provider=body.get("provider"),
        control_location=body.get("control_location"),
        cipher=body.get("cipher"),
        key_size=None if size is None else int(size),
    )


def _view(encryption: TypeEncryption) -> dict[str, Any]:
    return {
        "encryption_id": encryption.id,
        "volume_type_id": encryption.volume_type_id,
        "provider": encryption.provider,
        "control_location": encryption.control_location,
        "cipher": encryption.cipher,
        "key_size": encryption.key_size,
        "created_at": iso_micro(encryption.created_at_us),
        "updated_at": iso_micro(encryption.updated_at_us) if encryption.updated_at_us else None,
        "deleted_at": None,
        "deleted": False,
    }


def _wire(encryption: TypeEncryption) -> dict[str, Any]:
    """As the answers to POST and PUT have it."""
    names = ("provider", "control_location", "cipher", "key_size")
    return {**{name: getattr(encryption, name) for name in names}, "encryption_id": encryption.id}


@BLOCK.route(
    "GET",
    "/types/{type_id}/encryption",
    policy="volume_extension:volume_type_encryption:get",
    rule=Rule.ADMIN,
    response=ANY_OBJECT,
    summary="Show a volume type's encryption; nothing when it has none",
)
async def show_volume_type_encryption(req: Request) -> Reply:
    found = await req.read(service.find_encryption, req.params["type_id"])
    return Reply(_view(found) if found else {})


@BLOCK.route(
    "GET",
    "/types/{type_id}/encryption/{encryption_id}",
    policy="volume_extension:volume_type_encryption:get",
    rule=Rule.ADMIN,
    response=ANY_OBJECT,
    summary="Show one field of a volume type's encryption",
)
async def show_volume_type_encryption_field(req: Request) -> Reply:
    found, key = await req.read(service.find_encryption, req.params["type_id"]), req.params["encryption_id"]
    view = _view(found) if found else {}
    if key not in view:
        raise NotFound("encryption", key, f"Volume type {req.params['type_id']} has no encryption {key}.")
    return Reply({key: view[key]})


@BLOCK.route(
    "POST",
    "/types/{type_id}/encryption",
    policy="volume_extension:volume_type_encryption:create",
    rule=Rule.ADMIN,
    body=wrapped("encryption", strict(_FIELDS, ("provider", "control_location"))),
    response=ENCRYPTION,
    summary="Have the volumes of a type encrypted",
)
async def create_volume_type_encryption(req: Request) -> Reply:
    draft = _draft(req.body["encryption"])
    return Reply({"encryption": _wire(await req.run(service.create_encryption, req.params["type_id"], draft))})


@BLOCK.route(
    "PUT",
    "/types/{type_id}/encryption/{encryption_id}",
    policy="volume_extension:volume_type_encryption:update",
    rule=Rule.ADMIN,
    body=wrapped("encryption", strict(_FIELDS)),
    response=ENCRYPTION,
    summary="Change how the volumes of a type will be encrypted",
)
async def update_volume_type_encryption(req: Request) -> Reply:
    draft = _draft(req.body["encryption"])
    changed = await req.run(service.update_encryption, req.params["type_id"], req.params["encryption_id"], draft)
    return Reply({"encryption": _wire(changed)})


@BLOCK.route(
    "DELETE",
    "/types/{type_id}/encryption/{encryption_id}",
    policy="volume_extension:volume_type_encryption:delete",
    rule=Rule.ADMIN,
    status=202,
    summary="Have the volumes of a type no longer encrypted",
)
async def delete_volume_type_encryption(req: Request) -> Reply:
    await req.run(service.delete_encryption, req.params["type_id"], req.params["encryption_id"])
    return Reply()


def _volume_view(key: VolumeKey | None) -> dict[str, Any]:
    if key is None:
        return {"encryption_key_id": None}
    names = ("provider", "control_location", "cipher", "key_size")
    return {"encryption_key_id": key.id, **{name: getattr(key, name) for name in names}}


@BLOCK.route(
    "GET",
    "/volumes/{volume_id}/encryption",
    policy="volume_extension:volume_encryption_metadata",
    rule=Rule.READER,
    response=shape({"encryption_key_id": nullable(STRING)}),
    summary="Show how a volume is encrypted",
)
async def show_volume_encryption(req: Request) -> Reply:
    return Reply(_volume_view(await req.read(get_volume_key, req.params["volume_id"])))


@BLOCK.route(
    "GET",
    "/volumes/{volume_id}/encryption/{key}",
    policy="volume_extension:volume_encryption_metadata",
    rule=Rule.READER,
    response=ANY_OBJECT,
    summary="Show one field of how a volume is encrypted",
)
async def show_volume_encryption_field(req: Request) -> Reply:
    view, key = _volume_view(await req.read(get_volume_key, req.params["volume_id"])), req.params["key"]
    if view.get(key) is None:
        raise NotFound("encryption", key, f"Volume {req.params['volume_id']} has no encryption {key}.")
    return Reply({key: view[key]})
