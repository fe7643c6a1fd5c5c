"""OAuth 1.0a: consumers, request tokens and access tokens, their secrets sealed."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class Consumer(msgspec.Struct, frozen=True):
    """A program that may ask users for access."""

    id: str
    sealed_secret: str
    description: str
    extra: dict[str, Any]


class RequestToken(msgspec.Struct, frozen=True):
    """A consumer's request; ``user_id`` and ``verifier`` are empty until somebody authorizes it."""

    id: str
    sealed_secret: str
    consumer_id: str
    project_id: str
    user_id: str
    verifier: str
    role_ids: list[str]
    expires_at_us: int


class AccessToken(msgspec.Struct, frozen=True):
    """What a consumer was given: some roles of a user on a project. ``expires_at_us`` is 0 for never."""

    id: str
    sealed_secret: str
    consumer_id: str
    project_id: str
    user_id: str
    role_ids: list[str]
    expires_at_us: int


CONSUMERS = Table("oauth1_consumers", Consumer, noun="consumer")
REQUEST_TOKENS = Table("oauth1_request_tokens", RequestToken, noun="request token")
ACCESS_TOKENS = Table("oauth1_access_tokens", AccessToken, noun="access token")


def see_nonce(tx: Tx, consumer_id: str, token_id: str, nonce: str, now_us: int) -> bool:
    """Remember a nonce; False when it was seen before."""
    sql = "INSERT INTO oauth1_nonces (consumer_id, token_id, nonce, seen_at_us) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    return tx.execute(sql, (consumer_id, token_id, nonce, now_us)) == 1


def forget_nonces(tx: Tx, before_us: int) -> int:
    """Forget nonces of requests that are too old to be accepted anyway."""
    return tx.execute("DELETE FROM oauth1_nonces WHERE seen_at_us < ?", (before_us,))


def forget_expired(tx: Tx, now_us: int) -> int:
    """Forget requests and access tokens that have expired; how many there were."""
    requests = tx.execute("DELETE FROM oauth1_request_tokens WHERE expires_at_us < ?", (now_us,))
    sql = "DELETE FROM oauth1_access_tokens WHERE expires_at_us > 0 AND expires_at_us < ?"
    return requests + tx.execute(sql, (now_us,))
