"""Encryption of volumes: what types demand, and the keys of the volumes made of them.

A key is made with its volume, sealed outside the database (`ostro.services.identity.sealing`), and opened only for the host that makes the volume or
has it plugged in. Copies of a volume (clones, volumes from snapshots) hold the same bytes, and have the same passphrase.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound
from ostro.model.volumes import LUKS
from ostro.services.block.types import get_type, is_used
from ostro.store.attachments import ATTACHMENTS
from ostro.store.database import Tx
from ostro.store.server_migrations import SERVER_MIGRATIONS
from ostro.store.servers import SERVERS
from ostro.store.volume_keys import VOLUME_KEYS, VolumeKey
from ostro.store.volume_types import TYPE_ENCRYPTIONS, TypeEncryption
from ostro.store.volumes import VOLUMES, Volume

PROVIDERS = {
    "luks": LUKS,
    "LuksEncryptor": LUKS,
    "nova.volume.encryptors.luks.LuksEncryptor": LUKS,
    "os_brick.encryptors.luks.LuksEncryptor": LUKS,
}
"""What upstream's names for a provider stand for here. LUKS 2 isn't among them: QEMU's encryption knows LUKS 1 alone, and librbd's own, which knows both,
can neither clone an encrypted disk nor be asked for by the libvirt that hosts have."""
CIPHERS = {"aes-xts-plain64": (256, 512)}
"""Ciphers, and the lengths of their keys in bits, of those that QEMU's LUKS has."""
DEFAULT_CIPHER = "aes-xts-plain64"
DEFAULT_KEY_SIZE = 256


class EncryptionDraft(msgspec.Struct, frozen=True):
    """What an administrator says of a type's encryption; None is left as it is, or to us."""

    provider: str | None = None
    control_location: str | None = None
    cipher: str | None = None
    key_size: int | None = None


def _format_of(provider: str) -> str:
    """The format that a provider's volumes have. Raises Invalid."""
    format_ = PROVIDERS.get(provider)
    if format_ is None:
        raise Invalid(f"Invalid input received: {provider} is not a provider of encryption here; luks is.")
    return format_


def _check(encryption: TypeEncryption) -> None:
    _format_of(encryption.provider)
    if encryption.control_location != "front-end":
        raise Invalid("Invalid input received: control_location must be front-end: the hypervisor encrypts.")
    cipher = encryption.cipher or DEFAULT_CIPHER
    sizes = CIPHERS.get(cipher)
    if sizes is None:
        raise Invalid(f"Invalid input received: cipher {cipher} is not supported; {', '.join(CIPHERS)} is.")
    if (encryption.key_size or DEFAULT_KEY_SIZE) not in sizes:
        raise Invalid(f"Invalid input received: key_size of {cipher} is {' or '.join(map(str, sizes))} bits.")


def find_encryption(tx: Tx, context: Context, type_id: str) -> TypeEncryption | None:
    """How the type's volumes are encrypted, None when they aren't. Raises NotFound for an unknown type."""
    return TYPE_ENCRYPTIONS.find(tx, volume_type_id=get_type(tx, context, type_id).id)


def create_encryption(tx: Tx, context: Context, type_id: str, draft: EncryptionDraft) -> TypeEncryption:
    """Have the type's volumes encrypted. Raises NotFound, Invalid for a type that is in use or encrypted already."""
    kind = get_type(tx, context, type_id)
    if is_used(tx, kind.id):
        raise Invalid("Cannot create encryption specs. Volume type in use.")
    if TYPE_ENCRYPTIONS.find(tx, volume_type_id=kind.id) is not None:
        raise Invalid(f"Volume type encryption for type {kind.id} already exists.")
    encryption = TypeEncryption(
        volume_type_id=kind.id,
        id=context.new_id(),
        provider=draft.provider or "",
        control_location=draft.control_location or "front-end",
        cipher=draft.cipher,
        key_size=draft.key_size,
        created_at_us=context.now_us,
        updated_at_us=0,
    )
    _check(encryption)
    return TYPE_ENCRYPTIONS.insert(tx, encryption)


def _get_encryption(tx: Tx, context: Context, type_id: str, encryption_id: str) -> TypeEncryption:
    found = find_encryption(tx, context, type_id)
    if found is None or found.id != encryption_id:
        raise NotFound(
            "volume type encryption", encryption_id, f"Volume type encryption for type {type_id} does not exist."
        )
    return found


def update_encryption(
    tx: Tx, context: Context, type_id: str, encryption_id: str, draft: EncryptionDraft
) -> TypeEncryption:
    """Change how volumes will be encrypted. Raises NotFound, Invalid for a type that is in use."""
    found = _get_encryption(tx, context, type_id, encryption_id)
    if is_used(tx, found.volume_type_id):
        raise Invalid("Cannot update encryption specs. Volume type in use.")
    changes = {name: value for name, value in msgspec.structs.asdict(draft).items() if value is not None}
    changed = msgspec.structs.replace(found, **changes, updated_at_us=context.now_us)
    _check(changed)
    TYPE_ENCRYPTIONS.update(tx, found.volume_type_id, **changes, updated_at_us=context.now_us)
    return changed


def delete_encryption(tx: Tx, context: Context, type_id: str, encryption_id: str) -> None:
    """Have the type's volumes no longer encrypted. Raises NotFound, Invalid for a type that is in use."""
    found = _get_encryption(tx, context, type_id, encryption_id)
    if is_used(tx, found.volume_type_id):
        raise Invalid("Cannot delete encryption specs. Volume type in use.")
    TYPE_ENCRYPTIONS.delete(tx, found.volume_type_id)


# ---- keys of volumes -----------------------------------------------------------------------------------------------


def _described(encryption: TypeEncryption) -> tuple[str, str, int]:
    """(format, cipher, bits) with the defaults filled in. Raises Invalid for a provider that an earlier release let types have and could not serve."""
    cipher, size = encryption.cipher or DEFAULT_CIPHER, encryption.key_size or DEFAULT_KEY_SIZE
    return _format_of(encryption.provider), cipher, size


def check_source(tx: Tx, source: Volume | None, type_id: str) -> None:
    """Raise Invalid unless a volume of the type is encrypted just as the one that it is copied from, whose bytes it takes over."""
    if source is None:
        return
    key, encryption = VOLUME_KEYS.find(tx, volume_id=source.id), TYPE_ENCRYPTIONS.find(tx, volume_type_id=type_id)
    have = (key.provider, key.cipher, key.key_size) if key else None
    if have != (_described(encryption) if encryption else None):
        raise Invalid(
            "Invalid volume type: a copy of a volume is encrypted as that volume is; the requested type is not compatible."
        )


def give_key(tx: Tx, context: Context, volume: Volume, source: Volume | None, sealed: str) -> None:
    """A key for a new volume whose type demands one: ``sealed``, or that of the volume that it is copied from."""
    encryption = TYPE_ENCRYPTIONS.find(tx, volume_type_id=volume.volume_type_id)
    if encryption is None:
        return
    of_source = VOLUME_KEYS.find(tx, volume_id=source.id) if source else None
    if of_source is not None:
        VOLUME_KEYS.insert(tx, msgspec.structs.replace(of_source, volume_id=volume.id, id=context.new_id()))
        return
    assert sealed, "whoever makes volumes brings a key"
    provider, cipher, key_size = _described(encryption)
    VOLUME_KEYS.insert(
        tx,
        VolumeKey(
            volume_id=volume.id,
            id=context.new_id(),
            provider=provider,
            control_location=encryption.control_location,
            cipher=cipher,
            key_size=key_size,
            salt=volume.id,
            sealed=sealed,
        ),
    )


def find_key(tx: Tx, volume_id: str) -> VolumeKey | None:
    """The volume's key, None for one that isn't encrypted."""
    return VOLUME_KEYS.find(tx, volume_id=volume_id)


def _comes_to(tx: Tx, volume_id: str, host_id: str) -> bool:
    """Whether a server that has the volume plugged in is on its way to the host, which must open it before the server runs there."""
    servers = [SERVERS.find(tx, id=attachment.server_id) for attachment in ATTACHMENTS.list(tx, volume_id=volume_id)]
    moving = [server.migration_id for server in servers if server is not None and server.migration_id]
    return any(SERVER_MIGRATIONS.count(tx, uuid=id_, target_host_id=host_id) for id_ in moving)


def get_key_for_host(tx: Tx, volume_id: str, host_id: str) -> VolumeKey:
    """The key for a host that has to make the volume, or has it plugged in or soon will. Raises NotFound, Conflict for any other."""
    key, volume = VOLUME_KEYS.find(tx, volume_id=volume_id), VOLUMES.find(tx, id=volume_id)
    if key is None or volume is None:
        raise NotFound("volume key", volume_id)
    makes_it = volume.host_id == host_id and not volume.built
    plugged_in = ATTACHMENTS.count(tx, volume_id=volume_id, host_id=host_id)
    if not makes_it and not plugged_in and not _comes_to(tx, volume_id, host_id):
        raise Conflict(f"Volume {volume_id} is not for this host now.")
    return key


def passphrase(key: VolumeKey, open_: Callable[[str], str]) -> str:
    """What opens the volume. ``open_`` unseals."""
    secret = open_(key.sealed)
    return hmac.new(secret.encode(), key.salt.encode(), hashlib.sha256).hexdigest()
