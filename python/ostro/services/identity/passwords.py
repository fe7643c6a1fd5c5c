"""Passwords: argon2id at rest, and a short-lived memory of what was verified.

Hashing is slow on purpose, so it runs in bounded workers, outside any transaction. A password verified a moment ago is
remembered as a keyed BLAKE2 digest (random key of this process, never written, at most ``REMEMBER_S`` seconds, forgotten when the user's
hash changes because the hash is part of the digest): a returning user costs microseconds. What that trades: who can read this process's
memory can test guesses against the digest faster than against argon2id; such a reader sees the passwords themselves pass by anyway.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict

import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from ostro.runtime.threads import Pool
from ostro.runtime.world import World

REMEMBER_S = 300.0
REMEMBER_MOST = 10_000
WORKERS = 2


class Passwords:
    """Hashes and verifies passwords for one process."""

    def __init__(self, world: World, memory_kib: int = RFC_9106_LOW_MEMORY.memory_cost) -> None:
        self._world = world
        self._pool = Pool("argon2", WORKERS)
        # RFC 9106's second recommendation, one lane: 64 MiB (tests take less) and 3 passes.
        self._hasher = PasswordHasher(time_cost=RFC_9106_LOW_MEMORY.time_cost, memory_cost=memory_kib, parallelism=1)
        self._key = world.random.getrandbits(256).to_bytes(32, "big")
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = ""

    async def hash(self, password: str) -> str:
        """The PHC string of a password."""
        return await self._world.threads.run(self._pool, self._hasher.hash, password)

    async def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password is the one that was hashed.

        With an empty hash (no such user, no password) the same work is done in vain, so the time tells nothing.
        """
        if not password_hash:
            self._decoy = self._decoy or await self.hash("decoy")
            await self._world.threads.run(self._pool, self._check, self._decoy, password)
            return False
        digest = self._digest(password_hash, password)
        if self._remembers(digest):
            return True
        if not await self._world.threads.run(self._pool, self._check, password_hash, password):
            return False
        self._verified[digest] = trio.current_time() + REMEMBER_S
        while len(self._verified) > REMEMBER_MOST:
            self._verified.popitem(last=False)
        return True

    def _remembers(self, digest: bytes) -> bool:
        until_s = self._verified.get(digest)
        if until_s is None:
            return False
        if until_s < trio.current_time():
            del self._verified[digest]
            return False
        return True

    def _digest(self, password_hash: str, password: str) -> bytes:
        return hmac.digest(self._key, password_hash.encode() + b"\0" + password.encode(), hashlib.blake2b)

    def _check(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
