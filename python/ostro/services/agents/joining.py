"""How hosts join and leave: tokens that let them in, the certificates by which they are known from then on, and who a request speaks for.

A token is ``<secret>.<fingerprint of the authority>``: the host shows the secret only to a controller whose authority has that fingerprint. Only the
secret's digest is kept. A host's certificate is good while its row says so; when it is renewed, the one before stays good to its end.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from ostro.runtime.certificates import HOST_NAME, Issued, same_host_name
from ostro.runtime.world import World
from ostro.store.database import Tx
from ostro.store.joining import (
    CERTIFICATES,
    JOIN_TOKENS,
    Certificate,
    JoinToken,
    is_certified,
    is_name_taken,
    revoke_certificates,
    take_use,
)

SECRET_BITS = 192
USES_MOST = 100_000
EXPIRES_MOST_S = 30 * 86_400.0


@dataclass(frozen=True)
class Speaker:
    """Who a request of the agent protocol comes from.

    ``name`` and ``serial`` are of the certificate that was shown; without one the agent key was, which may speak for any host.
    """

    incarnation: str = ""
    epoch: int = 0
    name: str = ""
    serial: str = ""


def digest_of(secret: str) -> str:
    """What is kept of a token's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret(world: World) -> str:
    """The secret of a token."""
    return f"{world.random.getrandbits(SECRET_BITS):0{SECRET_BITS // 4}x}"


def create_token(
    tx: Tx, context: Context, secret: str, *, expires_s: float, uses: int, host_name: str = ""
) -> JoinToken:
    """Let so many hosts in, for so long. Raises Invalid."""
    if not 1 <= uses <= USES_MOST:
        raise Invalid(f"A token can be used 1 to {USES_MOST} times.")
    if not 0 < expires_s <= EXPIRES_MOST_S:
        raise Invalid(f"A token is good for at most {EXPIRES_MOST_S / 86_400:g} days.")
    if host_name and not HOST_NAME.fullmatch(host_name):
        raise Invalid(f"{host_name!r} can't be the name of a host.")
    expires_at_us = context.now_us + int(expires_s * 1_000_000)
    token = JoinToken(context.new_id(), digest_of(secret), host_name, uses, expires_at_us, context.now_us)
    return JOIN_TOKENS.insert(tx, token)


def list_tokens(tx: Tx, context: Context) -> list[JoinToken]:
    """Tokens that still let someone in, the oldest first."""
    found = JOIN_TOKENS.list(tx, order="created_at_us, id")
    return [token for token in found if token.uses_left and token.expires_at_us > context.now_us]


def revoke_token(tx: Tx, context: Context, token_id: str) -> None:
    """Let nobody in by it any more. Raises NotFound."""
    if not JOIN_TOKENS.delete(tx, token_id):
        raise NotFound("join token", token_id)


def redeem_token(tx: Tx, context: Context, secret: str, name: str, issued: Issued, key_digest: str) -> None:
    """Let the host in by the token and keep its certificate. The same key again by the same token is the same joining.

    Raises:
        Unauthenticated: there is no such token, or none any more.
        Conflict: there is a host of this name; a token for this very name replaces it.
    """
    digest = digest_of(secret)
    token = JOIN_TOKENS.find(tx, digest=digest)
    if token is None or not hmac.compare_digest(token.digest, digest) or token.expires_at_us <= context.now_us:
        raise Unauthenticated("The join token is not good, or not any more.")
    if token.host_name and not same_host_name(token.host_name, name):
        raise Forbidden(f"The join token is for host {token.host_name}.")
    same_key = CERTIFICATES.list(tx, token_id=token.id, key_digest=key_digest, revoked=False)
    if not any(same_host_name(found.host_name, name) for found in same_key):
        if is_name_taken(tx, name, context.now_us):
            if not token.host_name:
                raise Conflict(f"There is a host {name}. To replace it: ostro token create --host {name}")
            revoke_certificates(tx, name)
        if not take_use(tx, token.id):
            raise Unauthenticated("The join token is not good, or not any more.")
    keep_certificate(tx, context, name, issued, key_digest, token.id)


def keep_certificate(
    tx: Tx, context: Context, name: str, issued: Issued, key_digest: str, token_id: str = ""
) -> Certificate:
    """From now on the host is known by this certificate, too."""
    now_us = context.now_us
    certificate = Certificate(issued.serial, name, token_id, key_digest, now_us, issued.expires_at_us)
    return CERTIFICATES.insert(tx, certificate)


def renew_certificate(tx: Tx, context: Context, speaker: Speaker, issued: Issued, key_digest: str) -> None:
    """The host gets a certificate for another key. Raises Unauthenticated, as `check_certificate` does."""
    check_certificate(tx, context, speaker)
    keep_certificate(tx, context, speaker.name, issued, key_digest)


def check_certificate(tx: Tx, context: Context, speaker: Speaker) -> None:
    """Raise Unauthenticated unless the certificate that was shown, if one was, is still good."""
    if speaker.serial and not is_certified(tx, speaker.serial, speaker.name, context.now_us):
        raise Unauthenticated("The host's certificate is not good any more.")
