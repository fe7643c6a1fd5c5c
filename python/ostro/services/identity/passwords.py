"""Passwords: argon2id at rest, and a short-lived memory of what was verified.

Hashes that Keystone made, bcrypt and scrypt, are verified too; ``is_outdated`` tells the caller to put an argon2id hash in their place.

Hashing is slow on purpose, so it runs in bounded workers, outside any transaction. A password verified a moment ago is
remembered as a keyed BLAKE2 digest (random key of this process, never written, at most ``REMEMBER_S`` seconds, forgotten when the user's
hash changes because the hash is part of the digest): a returning user costs microseconds. What that trades: who can read this process's
memory can test guesses against the digest faster than against argon2id; such a reader sees the passwords themselves pass by anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import bcrypt
import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from ostro.model.errors import TooManyRequests
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

T = TypeVar("T")

REMEMBER_S = 300.0
REMEMBER_MOST = 10_000
WORKERS = 2
WAITING_MOST = 32
"""Who would wait longer than these take, some seconds, is refused: a flood of guesses has two cores at most, and ends nobody's patience."""


class Passwords:
    """Hashes and verifies passwords for one process."""

    def __init__(self, world: World, memory_kib: int = RFC_9106_LOW_MEMORY.memory_cost) -> None:
        self._world = world
        self.pool = Pool("argon2", WORKERS)
        # RFC 9106's second recommendation, one lane: 64 MiB (tests take less) and 3 passes.
        self._hasher = PasswordHasher(time_cost=RFC_9106_LOW_MEMORY.time_cost, memory_cost=memory_kib, parallelism=1)
        self._key = world.random.getrandbits(256).to_bytes(32, "big")
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = ""

    async def hash(self, password: str) -> str:
        """The PHC string of a password."""
        return await self._work(self._hasher.hash, password)

    async def _work(self, fn: Callable[..., T], *args: object) -> T:
        """Hash in a worker. Raises TooManyRequests when too many wait for one."""
        if self.pool.waiting >= WAITING_MOST:
            raise TooManyRequests("Too many passwords are being checked: try again later.")
        return await self._world.threads.run(self.pool, fn, *args)

    async def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password is the one that was hashed.

        With an empty hash (no such user, no password) the same work is done in vain, so the time tells nothing. Raises
        TooManyRequests when too many passwords are being hashed.
        """
        if not password_hash:
            self._decoy = self._decoy or await self.hash("decoy")
            await self._work(self._check, self._decoy, password)
            return False
        digest = self._digest(password_hash, password)
        if self._remembers(digest):
            return True
        if not await self._work(self._check, password_hash, password):
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

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash is of another kind, or cheaper, than those made today."""
        if not password_hash.startswith("$argon2id$"):
            return True
        return self._hasher.check_needs_rehash(password_hash)

    def _check(self, password_hash: str, password: str) -> bool:
        if password_hash.startswith("$2"):
            return _check_bcrypt(password_hash, password)
        if password_hash.startswith("$scrypt$"):
            return _check_scrypt(password_hash, password)
        try:
            return self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


BCRYPT_MOST_BYTES = 72
_SCRYPT = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,2})\$([^$]+)\$([^$]+)")
SCRYPT_MOST_BYTES = 256 << 20
"""A stored hash may not ask for more memory than this."""


def _check_bcrypt(password_hash: str, password: str) -> bool:
    """Keystone hashes the first 72 bytes."""
    try:
        return bcrypt.checkpw(password.encode()[:BCRYPT_MOST_BYTES], password_hash.encode())
    except ValueError:
        return False


def _plain_base64(text: str) -> bytes:
    """Base64 as passlib writes it: dots for pluses, no padding."""
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4))


def _check_scrypt(password_hash: str, password: str) -> bool:
    """``$scrypt$ln=16,r=8,p=1$salt$digest``, as passlib writes it."""
    found = _SCRYPT.fullmatch(password_hash)
    if found is None:
        return False
    cost, block, lanes = 1 << int(found[1]), int(found[2]), int(found[3])
    if 128 * cost * block > SCRYPT_MOST_BYTES:
        return False
    try:
        salt, digest = _plain_base64(found[4]), _plain_base64(found[5])
        made = hashlib.scrypt(
            password.encode(),
            salt=salt,
            n=cost,
            r=block,
            p=lanes,
            maxmem=SCRYPT_MOST_BYTES * 2,
            dklen=len(digest),
        )
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(made, digest)
