"""Tokens to join by, and the certificates that hosts have got."""

from __future__ import annotations

import msgspec

from ostro.runtime.certificates import same_host_name
from ostro.store.database import Tx
from ostro.store.table import Table


class JoinToken(msgspec.Struct, frozen=True):
    """What lets a host in. Only the digest of its secret is known; with a ``host_name`` it lets in that host alone, also again."""

    id: str
    digest: str
    host_name: str
    uses_left: int
    expires_at_us: int
    created_at_us: int


class Certificate(msgspec.Struct, frozen=True):
    """A certificate that a host was given: by which token, and for which key."""

    serial: str
    host_name: str
    token_id: str
    key_digest: str
    issued_at_us: int
    expires_at_us: int
    revoked: bool = False


JOIN_TOKENS = Table("join_tokens", JoinToken)
CERTIFICATES = Table("certificates", Certificate, key="serial")


def take_use(tx: Tx, token_id: str) -> bool:
    """Use the token once; whether it had a use left."""
    return (
        tx.execute("UPDATE join_tokens SET uses_left = uses_left - 1 WHERE id = ? AND uses_left > 0", (token_id,)) == 1
    )


def is_certified(tx: Tx, serial: str, name: str, now_us: int) -> bool:
    """Whether this certificate of the host's is good."""
    found = CERTIFICATES.find(tx, serial=serial, revoked=False)
    return found is not None and same_host_name(found.host_name, name) and found.expires_at_us > now_us


def is_name_taken(tx: Tx, name: str, now_us: int) -> bool:
    """Whether a host of this name, in upper or lower case, has a good certificate."""
    sql = "SELECT 1 FROM certificates WHERE lower(host_name) = ? AND revoked = 0 AND expires_at_us > ? LIMIT 1"
    return tx.one(sql, (name.lower(), now_us)) is not None


def revoke_certificates(tx: Tx, name: str) -> int:
    """Refuse every certificate that the host has; how many there were."""
    return tx.execute("UPDATE certificates SET revoked = 1 WHERE lower(host_name) = ? AND revoked = 0", (name.lower(),))


def forget_joining(tx: Tx, before_us: int) -> None:
    """Drop tokens and certificates that have expired before then."""
    for table in ("join_tokens", "certificates"):
        tx.execute(f"DELETE FROM {table} WHERE expires_at_us < ?", (before_us,))
