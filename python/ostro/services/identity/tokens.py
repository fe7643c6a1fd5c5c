"""Tokens: Fernet, validated in this process.

A token holds who, which scope, by which methods, when, and its audit ids; everything else is read from the rows. What the rows said is
remembered for ``FRESH_S`` and forgotten at once when a transaction rings the identity doorbell, in whichever process, so a
disabled user or a revoked token is refused within a second everywhere and immediately in the process that made the change.

A new key reads at once and signs only ``SETTLE_US`` later: by then every process has it or looks for it, so rotation fails no call.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Hashable

import msgspec
import trio
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ostro.model.context import Actor
from ostro.model.errors import Forbidden, Unauthenticated
from ostro.runtime.world import World
from ostro.services.identity.compliance import AS_SHIPPED, Compliance
from ostro.services.identity.delegation import Delegation, find_limits
from ostro.store.database import Database, Tx
from ostro.store.federation import IDENTITY_PROVIDERS, PROTOCOLS
from ostro.store.tokens import TOPIC, Scope, add_fernet_key, is_revoked, list_fernet_keys, load_actor
from ostro.store.users import USERS

FRESH_S = 1.0
REMEMBER_MOST = 20_000
LIFETIME_US = 3600 * 1_000_000
KEYS_KEPT = 5
SETTLE_US = 5 * 1_000_000
KEYS_FRESH_S = 60.0
"""How long a process may go on with the keys that it knows when nothing tells it of others."""
TOKEN_MOST_CHARS = 4096
REFUSED = "The request you have made requires authentication."


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """What a token carries. Only appended to, so that older tokens can be read."""

    user_id: str
    methods: tuple[str, ...]
    project_id: str
    domain_id: str
    system: bool
    issued_at_us: int
    expires_at_us: int
    audit_ids: tuple[str, ...]
    trust_id: str = ""
    application_credential_id: str = ""
    access_token_id: str = ""
    idp_id: str = ""
    protocol_id: str = ""
    group_ids: tuple[str, ...] = ()

    @property
    def is_delegated(self) -> bool:
        """Whether it came from a delegation: such a token can't be exchanged for another."""
        return bool(self.trust_id or self.application_credential_id or self.access_token_id)


RECEIPT_MARK = b"receipt:"
"""What a receipt's plain text begins with, and a token's never does: one can't be taken for the other."""


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """The methods by which a user has authenticated so far."""

    user_id: str
    methods: tuple[str, ...]
    issued_at_us: int
    expires_at_us: int


def is_vouched_for(tx: Tx, payload: Payload) -> bool:
    """Whether the identity provider that the token rests on, if it rests on one, is there, enabled, and still speaks the protocol."""
    if not payload.idp_id:
        return True
    provider = IDENTITY_PROVIDERS.find(tx, id=payload.idp_id, enabled=True)
    return provider is not None and PROTOCOLS.find(tx, idp_id=payload.idp_id, id=payload.protocol_id) is not None


def resolve_actor(tx: Tx, payload: Payload, compliance: Compliance, now_us: int) -> Actor | None:
    """The actor behind a payload, None when the token is worth nothing any more: also when what it was delegated by is gone."""
    if is_revoked(tx, payload.audit_ids) or not is_vouched_for(tx, payload):
        return None
    delegation = Delegation(payload.trust_id, payload.application_credential_id, payload.access_token_id)
    limits = find_limits(tx, delegation, payload.user_id, payload.project_id, now_us)
    if limits is None:
        return None
    scope = Scope(payload.project_id, payload.domain_id, payload.system)
    actor = load_actor(
        tx,
        payload.user_id,
        scope,
        now_us,
        issued_at_us=payload.issued_at_us,
        roles_of=limits.roles_of,
        only=limits.role_ids,
        group_ids=payload.group_ids,
    )
    if actor is None or (limits.needs_all and not set(limits.role_ids or ()) <= {id_ for id_, _ in actor.role_ids}):
        return None
    user = USERS.get(tx, payload.user_id)
    expires_at_us = compliance.expires_at_us(user.password_set_at_us, user.options, first_use=user.password_by_admin)
    return msgspec.structs.replace(
        actor,
        methods=payload.methods,
        audit_ids=payload.audit_ids,
        expires_at_us=payload.expires_at_us,
        idp_id=payload.idp_id,
        protocol_id=payload.protocol_id,
        group_ids=payload.group_ids,
        password_expires_at_us=expires_at_us if user.password_hash else 0,
        **limits.shown,
    )


class Tokens:
    """Issues and validates tokens for one process. Call ``load_keys`` before anything else."""

    def __init__(self, world: World, db: Database, compliance: Compliance = AS_SHIPPED) -> None:
        self.compliance = compliance
        self._world = world
        self._db = db
        self._fernet: MultiFernet | None = None
        self._signers: list[tuple[Fernet, int]] = []
        self._keys_read_at_s = 0.0
        self._actors: OrderedDict[str, tuple[Actor, float]] = OrderedDict()
        self._grants: OrderedDict[Hashable, tuple[Actor, float]] = OrderedDict()
        self._forgotten = 0
        db.doorbell.subscribe(TOPIC, self.forget)

    def forget(self) -> None:
        """Drop everything remembered, keys included."""
        self._actors.clear()
        self._grants.clear()
        self._fernet = None
        self._forgotten += 1

    @property
    def has_keys(self) -> bool:
        """Whether the keys have been read. What is forgotten is read again by whoever needs it next."""
        return bool(self._signers)

    async def load_keys(self) -> MultiFernet:
        """Read the keys, now and then again; the first time ever, make one."""
        if self._fernet is None or trio.current_time() - self._keys_read_at_s >= KEYS_FRESH_S:
            keys = await self._db.read(list_fernet_keys)
            if not keys:
                await self.rotate()
                keys = await self._db.read(list_fernet_keys)
            self._signers = [(Fernet(key.encode()), created_at_us) for key, created_at_us in keys]
            self._keys_read_at_s = trio.current_time()
            self._fernet = MultiFernet([fernet for fernet, _ in self._signers])
        return self._fernet

    async def rotate(self) -> None:
        """Sign with a new key from ``SETTLE_US`` on. Older keys go on reading until ``KEYS_KEPT`` newer ones have come."""
        key = base64.urlsafe_b64encode(self._world.random.getrandbits(256).to_bytes(32, "big")).decode()
        await self._db.run(add_fernet_key, key, KEYS_KEPT, self._world.now_us())

    def _signer(self) -> Fernet:
        """The newest key that every process knows; of a new cloud, the only one."""
        settled_us = self._world.now_us() - SETTLE_US
        return next((key for key, made_us in self._signers if made_us <= settled_us), self._signers[-1][0])

    def new_audit_id(self) -> str:
        """A random id as Keystone forms them: 22 characters of URL-safe base64."""
        raw = self._world.random.getrandbits(128).to_bytes(16, "big")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    async def issue(self, payload: Payload) -> str:
        """The token of a payload."""
        await self.load_keys()
        issued_s = payload.issued_at_us // 1_000_000
        token = self._signer().encrypt_at_time(msgspec.msgpack.encode(payload), issued_s).decode().rstrip("=")
        if len(token) > TOKEN_MOST_CHARS:
            raise Forbidden(
                f"The identity provider puts the user into {len(payload.group_ids)} groups, too many for a token."
            )
        return token

    @property
    def revision(self) -> int:
        """Raised whenever everything remembered is dropped."""
        return self._forgotten

    def find_grant(self, key: Hashable) -> Actor | None:
        """The actor that a login like this one got within the last ``FRESH_S``; nothing has changed since."""
        known = self._grants.get(key)
        return known[0] if known is not None and known[1] > trio.current_time() else None

    def remember_grant(self, key: Hashable, actor: Actor, revision: int) -> None:
        """Remember what rows that were read at ``revision`` gave; what has changed meanwhile is not remembered."""
        if revision != self._forgotten:
            return
        self._grants[key] = (actor, trio.current_time() + FRESH_S)
        while len(self._grants) > REMEMBER_MOST:
            self._grants.popitem(last=False)

    async def issue_receipt(self, receipt: Receipt) -> str:
        """The receipt of a login that is not complete."""
        await self.load_keys()
        return self._signer().encrypt(RECEIPT_MARK + msgspec.msgpack.encode(receipt)).decode().rstrip("=")

    async def read_receipt(self, text: str) -> Receipt:
        """A receipt of ours that has not expired. Raises Unauthenticated."""
        try:
            data = await self._decrypt(text[:TOKEN_MOST_CHARS] + "=" * (-len(text) % 4))
            if not data.startswith(RECEIPT_MARK):
                raise Unauthenticated(REFUSED, detail="not a receipt")
            receipt = msgspec.msgpack.decode(data[len(RECEIPT_MARK) :], type=Receipt)
        except (InvalidToken, ValueError, msgspec.DecodeError) as error:
            raise Unauthenticated(REFUSED, detail=repr(error)) from error
        if receipt.expires_at_us <= self._world.now_us():
            raise Unauthenticated(REFUSED, detail="receipt expired")
        return receipt

    async def read(self, token: str) -> Payload:
        """The payload of a token of ours that has not expired. Raises Unauthenticated."""
        if len(token) > TOKEN_MOST_CHARS:
            raise Unauthenticated(REFUSED)
        try:
            data = await self._decrypt(token + "=" * (-len(token) % 4))
            payload = msgspec.msgpack.decode(data, type=Payload)
        except (InvalidToken, ValueError, msgspec.DecodeError) as error:
            raise Unauthenticated(REFUSED, detail=repr(error)) from error
        if payload.expires_at_us <= self._world.now_us():
            raise Unauthenticated(REFUSED, detail="expired")
        return payload

    async def _decrypt(self, token: str) -> bytes:
        """Decrypt with the keys at hand; if none fits, look (at most once in ``FRESH_S``) whether there are newer ones."""
        fernet = await self.load_keys()
        try:
            return fernet.decrypt(token)
        except InvalidToken:
            if trio.current_time() - self._keys_read_at_s < FRESH_S:
                raise
            self._fernet = None
            fernet = await self.load_keys()
            return fernet.decrypt(token)

    def recall(self, token: str) -> Actor | None:
        """Whose a token was when it was seen last, if it was and that is not forgotten. It may not be valid any more."""
        known = self._actors.get(token)
        return known[0] if known is not None else None

    async def validate(self, token: str) -> Actor:
        """The actor of a token, as the rows are now (at most ``FRESH_S`` old). Raises Unauthenticated."""
        known = self._actors.get(token)
        if known is not None:
            actor, until_s = known
            if until_s > trio.current_time() and actor.expires_at_us > self._world.now_us():
                return actor
        payload = await self.read(token)
        forgotten = self._forgotten
        found = await self._db.read(resolve_actor, payload, self.compliance, self._world.now_us())
        if found is None:
            self._actors.pop(token, None)
            raise Unauthenticated(REFUSED, detail="revoked, disabled or without a role")
        if forgotten != self._forgotten:
            # Something changed while the rows were read: this answer is as old as the question and must not be kept.
            return found
        self._actors[token] = (found, trio.current_time() + FRESH_S)
        self._actors.move_to_end(token)
        while len(self._actors) > REMEMBER_MOST:
            self._actors.popitem(last=False)
        return found
