"""Keypairs: public keys of a user, imported or made here. A private key is handed out once and never kept.

Making keys and reading given ones is slow and needs no rows, so it happens outside of transactions, by ``generate`` and ``read_public_key``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound
from ostro.model.times import to_datetime
from ostro.runtime.threads import Pool
from ostro.services.compute.quotas import check_keypairs
from ostro.store.database import Tx
from ostro.store.keypairs import KEYPAIRS, Keypair, list_user_keypairs, next_keypair_id

RSA_BITS = 2048
VALID = timedelta(days=3650)
USER_PRINCIPAL_NAME = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
POOL = Pool("keypair", 1)
"""Making an RSA key takes a tenth of a second of a core: one at a time."""
INVALID = "Keypair data is invalid: failed to generate fingerprint"


class KeyType(StrEnum):
    """What a public key is for: SSH, or certificates for Windows' remote management."""

    SSH = "ssh"
    X509 = "x509"


class KeyMaterial(msgspec.Struct, frozen=True):
    """A public key read or made; ``private_key`` is empty for one that was given."""

    public_key: str
    fingerprint: str
    private_key: str = ""


def generate(kind: KeyType, user_id: str, now_us: int) -> KeyMaterial:
    """A new key. Slow."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8 if kind is KeyType.X509 else serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    if kind is KeyType.X509:
        public = _certificate(key, user_id, to_datetime(now_us)).public_bytes(serialization.Encoding.PEM).decode()
    else:
        encoded = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        public = encoded.decode() + " Generated-by-Ostro\n"
    return msgspec.structs.replace(read_public_key(kind, public), private_key=private)


def _certificate(key: rsa.RSAPrivateKey, user_id: str, now: datetime) -> x509.Certificate:
    """A self-signed certificate that a Windows guest maps to the user."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    # A UTF8String in DER: tag 12, length, bytes.
    name = f"{user_id}@localhost".encode()[:120]
    principal = x509.OtherName(USER_PRINCIPAL_NAME, bytes((12, len(name))) + name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALID)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([principal]), critical=False)
        .sign(key, hashes.SHA256())
    )


def read_public_key(kind: KeyType, text: str) -> KeyMaterial:
    """Check a given public key and take its fingerprint. Raises Invalid."""
    try:
        if kind is KeyType.X509:
            certificate = x509.load_pem_x509_certificate(text.encode())
            # The algorithm that upstream shows for certificates.
            return KeyMaterial(text, _colons(certificate.fingerprint(hashes.SHA1())))
        blob = base64.b64decode(text.split(" ", 2)[1], validate=True)
        serialization.load_ssh_public_key(text.strip().encode())
    except (ValueError, IndexError, binascii.Error, UnicodeError) as error:
        raise Invalid(INVALID, detail=str(error)) from error
    except Exception as error:
        # cryptography's own: algorithms that it doesn't know.
        raise Invalid(INVALID, detail=repr(error)) from error
    return KeyMaterial(text, _colons(hashlib.md5(blob, usedforsecurity=False).digest()))


def _colons(digest: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in digest)


def owner_of(context: Context, user_id: str) -> str:
    """Whose keypairs are meant: the actor's own, or for an administrator any user's. Raises Forbidden."""
    if not user_id or user_id == context.user_id:
        return context.user_id
    if not context.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:os-keypairs to be performed.")
    return user_id


def create_keypair(tx: Tx, context: Context, user_id: str, name: str, kind: KeyType, material: KeyMaterial) -> Keypair:
    """Keep a public key. Raises Conflict when the user has one of that name, QuotaExceeded."""
    check_keypairs(tx, context, user_id)
    if KEYPAIRS.find(tx, user_id=user_id, name=name):
        raise Conflict(f"Key pair '{name}' already exists.")
    return KEYPAIRS.insert(
        tx,
        Keypair(
            id=next_keypair_id(tx),
            user_id=user_id,
            name=name,
            type=kind.value,
            fingerprint=material.fingerprint,
            public_key=material.public_key,
            created_at_us=context.now_us,
        ),
    )


def get_keypair(tx: Tx, context: Context, user_id: str, name: str) -> Keypair:
    """A keypair of the user. Raises NotFound."""
    keypair = KEYPAIRS.find(tx, user_id=user_id, name=name)
    if keypair is None:
        raise NotFound("keypair", name, f"Keypair {name} not found for user {user_id}")
    return keypair


def list_keypairs(tx: Tx, context: Context, user_id: str, marker: str, limit: int) -> list[Keypair]:
    """A page of the user's keypairs. Raises Invalid for an unknown marker."""
    if marker and KEYPAIRS.find(tx, user_id=user_id, name=marker) is None:
        raise Invalid(f"Marker {marker} could not be found.")
    return list_user_keypairs(tx, user_id, after=marker, limit=limit)


def delete_keypair(tx: Tx, context: Context, user_id: str, name: str) -> None:
    """Forget a keypair; servers that were started with it keep it. Raises NotFound."""
    if not KEYPAIRS.delete_where(tx, user_id=user_id, name=name):
        raise NotFound("keypair", name, f"Keypair {name} not found for user {user_id}")
