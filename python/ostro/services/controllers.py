"""What the processes of one cloud share: its secrets, kept in the store and sealed by the one secret that its machines have, and who serves the API.

A machine needs nothing but the settings with that secret to become another controller.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import orjson
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ostro.model.errors import Conflict
from ostro.runtime.certificates import Authority, read_key
from ostro.runtime.world import World
from ostro.services.cloud import Cloud
from ostro.store.controllers import ensure_secret, find_secret, forget_controllers, touch_controller
from ostro.store.database import Database
from ostro.store.joining import forget_joining

TELL_EVERY_S = 15.0
FORGET_CONTROLLERS_S = 600.0
FORGET_JOINING_S = 86_400.0
NAME = "shared"


@dataclass(frozen=True)
class Shared:
    """The secrets of a cloud."""

    cloud_id: str
    agent_key: str = field(repr=False)
    credential_keys: tuple[str, ...] = field(repr=False)
    authority: Authority


def new_cloud_secret(world: World) -> str:
    """The secret that a cloud's machines share."""
    return f"{world.random.getrandbits(256):064x}"


async def load_shared(world: World, db: Database, secret: str) -> Shared:
    """The cloud's secrets; the first process makes them. Raises Conflict when they were sealed by another secret."""
    box = Fernet(_derive(secret))
    sealed = await db.read(find_secret, NAME)
    if sealed is None:
        # Of several processes that come here at once one's are kept, and all read those.
        sealed = await db.run(ensure_secret, NAME, box.encrypt(_make(world)).decode())
    try:
        found = orjson.loads(box.decrypt(sealed.encode()))
    except InvalidToken as error:
        raise Conflict("The secret in the settings is not the one of the cloud in this database.") from error
    authority = Authority(found["authority"], read_key(found["authority_key"]))
    return Shared(found["cloud_id"], found["agent_key"], tuple(found["credential_keys"]), authority)


def _make(world: World) -> bytes:
    cloud_id = f"{world.random.getrandbits(48):012x}"
    authority = Authority.make(cloud_id, world.now_us())
    credential_key = base64.urlsafe_b64encode(world.random.getrandbits(256).to_bytes(32, "big")).decode()
    return orjson.dumps(
        {
            "cloud_id": cloud_id,
            "agent_key": f"{world.random.getrandbits(256):064x}",
            "credential_keys": [credential_key],
            "authority": authority.cert_pem,
            "authority_key": authority.key_pem,
        }
    )


def _derive(secret: str) -> bytes:
    """A key for Fernet. The secret has full entropy, so nothing slow is needed."""
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"ostro shared secrets").derive(secret.encode())
    return base64.urlsafe_b64encode(derived)


async def tell_controller(cloud: Cloud, url: str) -> None:
    """Let hosts know that the API is served there."""
    await cloud.db.run(touch_controller, url, cloud.world.now_us())


async def sweep_controllers(cloud: Cloud) -> None:
    """Controllers that have gone, and tokens and certificates that are over, are forgotten."""
    now_us = cloud.world.now_us()
    await cloud.db.run(forget_controllers, now_us - int(FORGET_CONTROLLERS_S * 1e6))
    await cloud.db.run(forget_joining, now_us - int(FORGET_JOINING_S * 1e6))
