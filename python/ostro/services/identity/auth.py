"""Authentication: from what somebody shows, and a wished scope, to a payload that a token can carry.

``Authenticator`` runs the methods of one request: password, token, totp, application_credential. Verifying a secret is slow and outside any
transaction; ``grant`` checks the rest in one. Every refusal reads the same, whatever was wrong, takes the same time, and counts towards a
brake on guessing, for names that don't exist as for those that do.

A user with rules for several factors gets a receipt for the methods shown so far, and a token once a rule is met.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ostro.model.context import Actor
from ostro.model.errors import Forbidden, NotFound, Unauthenticated
from ostro.runtime.world import World
from ostro.services.identity.compliance import Compliance
from ostro.services.identity.delegation import is_usable_user
from ostro.services.identity.directories import Directories
from ostro.services.identity.federated import Admitted
from ostro.services.identity.passwords import Passwords
from ostro.services.identity.sealing import Sealer
from ostro.services.identity.tokens import LIFETIME_US, REFUSED, Payload, Receipt, Tokens, resolve_actor
from ostro.services.identity.totp import is_passcode
from ostro.store.application_credentials import APPLICATION_CREDENTIALS, ApplicationCredential
from ostro.store.credentials import CREDENTIALS
from ostro.store.database import Database, Tx
from ostro.store.domain_configs import has_directory
from ostro.store.projects import PROJECTS, Project
from ostro.store.trusts import TRUSTS, Trust, use_trust
from ostro.store.users import DIRECTORY, FAILURES, GONE, USERS, User, count_failure

RECEIPT_LIFETIME_US = 300 * 1_000_000
SIGNED = ("ec2credential",)
"""The methods of a token for a signed request: a program has no second factor."""
FEDERATED = ("mapped", "openid", "saml2")
"""Methods by which an identity provider's word is shown, or a token that came of it."""
CONFIGURED = ("password", "token", "totp", "application_credential", "oauth1")


class DomainRef(msgspec.Struct, frozen=True):
    """A domain by id or name."""

    id: str = ""
    name: str = ""


class UserRef(msgspec.Struct, frozen=True):
    """A user by id, or by name and domain."""

    id: str = ""
    name: str = ""
    domain: DomainRef = DomainRef()


class Scope(msgspec.Struct, frozen=True):
    """The wished scope; none of them is unscoped. ``project`` is by id, or by name and domain."""

    project: UserRef | None = None
    domain: DomainRef | None = None
    system: bool = False
    trust_id: str = ""
    unscoped: bool = False

    @property
    def is_explicit(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.project or self.domain or self.system or self.trust_id or self.unscoped)


class PasswordExpired(Unauthenticated):
    """The password is right and must be changed."""


class NeedsMore(Exception):
    """The methods shown so far are good and not enough."""

    def __init__(self, receipt: Receipt, rules: list[list[str]], actor: Actor) -> None:
        super().__init__("more methods are needed")
        self.receipt = receipt
        self.rules = rules
        self.actor = actor


class Login(msgspec.Struct, frozen=True):
    """A user as authentication sees it. ``user_id`` and ``password_hash`` are empty when there is no such user."""

    subject: str
    user_id: str = ""
    password_hash: str = ""
    failures: int = 0
    locked: bool = False
    expired: bool = False
    directory: str = ""
    """The domain whose directory verifies the password, where it isn't ours to verify."""


def find_domain(tx: Tx, ref: DomainRef) -> Project | None:
    """The domain that ``ref`` names."""
    if ref.id:
        return PROJECTS.find(tx, id=ref.id, is_domain=True)
    return PROJECTS.find(tx, name=ref.name, is_domain=True) if ref.name else None


def find_user(tx: Tx, ref: UserRef) -> User | None:
    """The user that ``ref`` names."""
    if ref.id:
        return USERS.find(tx, id=ref.id)
    domain = find_domain(tx, ref.domain)
    if domain is None or not ref.name:
        return None
    found = USERS.find(tx, name=ref.name, domain_id=domain.id)
    return found or USERS.find(tx, shown_name=ref.name, domain_id=domain.id, source=DIRECTORY)


def find_project(tx: Tx, ref: UserRef) -> Project | None:
    """The project that ``ref`` names."""
    if ref.id:
        return PROJECTS.find(tx, id=ref.id, is_domain=False)
    domain = find_domain(tx, ref.domain)
    return PROJECTS.find(tx, name=ref.name, domain_id=domain.id, is_domain=False) if domain and ref.name else None


def find_login(tx: Tx, ref: UserRef, compliance: Compliance, now_us: int) -> Login:
    """What there is to verify a password against."""
    user = find_user(tx, ref)
    asked = hashlib.blake2b(msgspec.json.encode(ref), digest_size=16).hexdigest()
    subject = user.id if user else f"?{asked}"
    failures = FAILURES.find(tx, subject=subject)
    count = failures.failures if failures else 0
    locked = failures is not None and compliance.locked_until_us(count, failures.last_at_us) > now_us
    if user is None:
        domain = find_domain(tx, ref.domain) if ref.name and not ref.id else None
        directory = domain.id if domain and domain.enabled and has_directory(tx, domain.id) else ""
        return Login(subject, failures=count, locked=locked, directory=directory)
    if user.source in (DIRECTORY, GONE):
        return Login(subject, user.id, failures=count, locked=locked, directory=user.domain_id)
    if user.options.get("ignore_lockout_failure_attempts"):
        locked = False
    expires_at_us = compliance.expires_at_us(user.password_set_at_us, user.options, first_use=user.password_by_admin)
    expired = bool(expires_at_us) and expires_at_us <= now_us
    return Login(subject, user.id, user.password_hash, count, locked, expired)


def _forgive(tx: Tx, subject: str) -> None:
    FAILURES.delete(tx, subject)


def _rehash(tx: Tx, user_id: str, old_hash: str, new_hash: str) -> None:
    """Put a better hash of the same password in its place; tokens stay good."""
    USERS.update_where(tx, {"password_hash": new_hash}, id=user_id, password_hash=old_hash)


def find_application_credential(tx: Tx, given: Mapping[str, Any]) -> ApplicationCredential | None:
    """By id, or by name and user."""
    if given.get("id"):
        return APPLICATION_CREDENTIALS.find(tx, id=given["id"])
    user = find_user(tx, msgspec.convert(given.get("user", {}), UserRef))
    if user is None or not given.get("name"):
        return None
    return APPLICATION_CREDENTIALS.find(tx, name=given["name"], user_id=user.id)


def list_totp_secrets(tx: Tx, ref: UserRef) -> tuple[str, list[str]]:
    """The user's id and sealed secrets; empty when there is no such user."""
    user = find_user(tx, ref)
    if user is None:
        return "", []
    return user.id, [row.sealed_blob for row in CREDENTIALS.list(tx, user_id=user.id, type="totp")]


@dataclass
class Shown:
    """What has been shown so far in one request."""

    user_ids: set[str] = field(default_factory=set)
    methods: list[str] = field(default_factory=list)
    parent: Payload | None = None
    application_credential: ApplicationCredential | None = None
    admitted: Admitted | None = None
    """Whom an identity provider vouches for."""

    def add(self, user_id: str, *methods: str) -> None:
        """One more proof."""
        self.user_ids.add(user_id)
        self.methods += [method for method in methods if method not in self.methods]


class Authenticator:
    """Verifies what is shown, for one process."""

    def __init__(
        self, world: World, db: Database, tokens: Tokens, passwords: Passwords, sealer: Sealer, directories: Directories
    ) -> None:
        self._world = world
        self._db = db
        self._tokens = tokens
        self._passwords = passwords
        self._sealer = sealer
        self._directories = directories

    async def authenticate(
        self,
        identity: Mapping[str, Any],
        scope: Scope,
        receipt: str = "",
        access_token: Delegated | None = None,
        admitted: Admitted | None = None,
    ) -> tuple[str, Actor]:
        """The token and actor for an ``identity`` body; for oauth1 also the access token that the request was signed with, and for a federated
        method whom the identity provider vouches for.

        Raises Unauthenticated, Forbidden, NeedsMore.
        """
        shown = Shown()
        if receipt:
            before = await self._tokens.read_receipt(receipt)
            shown.add(before.user_id, *before.methods)
        for method in dict.fromkeys(identity["methods"]):
            given = identity.get(method)
            if method == "oauth1" and access_token is not None:
                shown.add(access_token.user_id, method)
                continue
            if method in FEDERATED and admitted is not None:
                shown.admitted = admitted
                shown.add(admitted.user_id, method)
                continue
            if not given or method not in (*CONFIGURED, *FEDERATED):
                raise Unauthenticated(REFUSED, detail=f"method {method}")
            await self._show(shown, method, given)
        if len(shown.user_ids) != 1:
            raise Unauthenticated(REFUSED, detail="the methods disagree")
        return await self.finish(shown, scope, access_token=access_token)

    async def finish(self, shown: Shown, scope: Scope, *, access_token: Delegated | None = None) -> tuple[str, Actor]:
        """The token for what was shown."""
        (user_id,) = shown.user_ids
        payload = _draft(shown, self._tokens.new_audit_id(), self._world.now_us(), access_token)
        key = None
        if not scope.trust_id and shown.parent is None and shown.admitted is None and access_token is None:
            key = (user_id, scope, payload.methods, payload.application_credential_id)
            known = self._tokens.find_grant(key)
            if known is not None:
                return await self._issue_again(payload, known)
        revision = self._tokens.revision
        grants = self._db.run if scope.trust_id else self._db.read
        payload, actor = await grants(grant, user_id, scope, payload, shown, self._tokens.compliance)
        if key is not None:
            self._tokens.remember_grant(key, actor, revision)
        return await self._tokens.issue(payload), actor

    async def _issue_again(self, payload: Payload, known: Actor) -> tuple[str, Actor]:
        """One more token for who got the same a moment ago, with ids and times of its own."""
        payload = msgspec.structs.replace(
            payload, project_id=known.project_id, domain_id=known.domain_id, system=known.system
        )
        actor = msgspec.structs.replace(
            known,
            audit_ids=payload.audit_ids,
            issued_at_us=payload.issued_at_us,
            expires_at_us=payload.expires_at_us,
        )
        return await self._tokens.issue(payload), actor

    async def _show(self, shown: Shown, method: str, given: Mapping[str, Any]) -> None:
        if method == "password":
            user = dict(given["user"])
            password = user.pop("password", "") or ""
            shown.add(await self.verify_password(msgspec.convert(user, UserRef), password), "password")
        elif method == "token" or (method in FEDERATED and given.get("id")):
            await self._show_token(shown, method, str(given["id"]))
        elif method == "totp":
            shown.add(await self._verify_totp(given["user"]), "totp")
        elif method == "application_credential":
            shown.application_credential = await self.verify_application_credential(given)
            shown.add(shown.application_credential.user_id, "application_credential")

    async def _show_token(self, shown: Shown, method: str, token: str) -> None:
        """By a federated method's name a federated token can be shown, and no other."""
        try:
            actor = await self._tokens.validate(token)
        except Unauthenticated as error:
            # As upstream answers: the client's session asks for a new token by other means then.
            raise NotFound("token", "", "Could not find token.") from error
        if method in FEDERATED and not actor.idp_id:
            raise Unauthenticated(REFUSED, detail="not a federated token")
        shown.parent = await self._tokens.read(token)
        shown.add(actor.user_id, method, *shown.parent.methods)

    async def verify_password(self, ref: UserRef, password: str) -> str:
        """The id of the user whose password it is. Raises Unauthenticated."""
        now_us = self._world.now_us()
        login = await self._db.read(find_login, ref, self._tokens.compliance, now_us)
        if login.directory and not login.locked:
            login = msgspec.structs.replace(login, user_id=await self._ask_directory(login, ref, password))
            good = bool(login.user_id)
        else:
            good = await self._passwords.verify("" if login.locked else login.password_hash, password)
        if not good:
            if not login.locked:
                await self._db.run(count_failure, login.subject, now_us)
            raise Unauthenticated(REFUSED, detail="wrong user or password" if not login.locked else "locked out")
        if login.failures:
            await self._db.run(_forgive, login.subject)
        if login.directory:
            return login.user_id
        if self._passwords.is_outdated(login.password_hash):
            better = await self._passwords.hash(password)
            await self._db.run(_rehash, login.user_id, login.password_hash, better)
        if login.expired:
            raise PasswordExpired(
                f"The password is expired and needs to be changed for user: {login.user_id}.", detail="password expired"
            )
        return login.user_id

    async def _ask_directory(self, login: Login, ref: UserRef, password: str) -> str:
        name = "" if ref.id else ref.name
        return await self._directories.verify(login.directory, name, login.user_id, password)

    async def verify_own_password(self, user_id: str, password: str) -> str:
        """The hash of a user's present password, which this is, also when it has expired. Raises Unauthenticated."""
        with suppress(PasswordExpired):
            await self.verify_password(UserRef(id=user_id), password)
        login = await self._db.read(find_login, UserRef(id=user_id), self._tokens.compliance, self._world.now_us())
        if login.directory:
            raise Forbidden("LDAP does not support write operations")
        if not login.password_hash:
            raise Unauthenticated(REFUSED, detail="the user went away")
        return login.password_hash

    async def verify_application_credential(self, given: Mapping[str, Any]) -> ApplicationCredential:
        """The application credential whose secret it is. Raises Unauthenticated."""
        found = await self._db.read(find_application_credential, given)
        if not await self._passwords.verify(found.secret_hash if found else "", given.get("secret") or ""):
            raise Unauthenticated(REFUSED, detail="wrong application credential")
        assert found is not None, "an empty hash never verifies"
        if found.expires_at_us and found.expires_at_us <= self._world.now_us():
            raise Unauthenticated(REFUSED, detail="the application credential has expired")
        return found

    async def _verify_totp(self, user: Mapping[str, Any]) -> str:
        now_us = self._world.now_us()
        ref = msgspec.convert({k: v for k, v in user.items() if k != "passcode"}, UserRef)
        login = await self._db.read(find_login, ref, self._tokens.compliance, now_us)
        user_id, sealed = await self._db.read(list_totp_secrets, ref)
        passcode = str(user.get("passcode") or "")
        good = any(is_passcode(self._sealer.open(secret), passcode, now_us) for secret in sealed)
        if login.locked or not good:
            if not login.locked:
                await self._db.run(count_failure, login.subject, now_us)
            raise Unauthenticated(REFUSED, detail="wrong user or passcode")
        return user_id


class Delegated(msgspec.Struct, frozen=True):
    """An OAuth access token that a consumer shows: a scope and a limit at once."""

    access_token_id: str
    user_id: str
    project_id: str


def _draft(shown: Shown, audit_id: str, now_us: int, access_token: Delegated | None) -> Payload:
    """The payload of a new token without its scope. One made from a token lives no longer than that and joins its audit chain."""
    parent = shown.parent
    credential = shown.application_credential
    expires_at_us = parent.expires_at_us if parent else now_us + LIFETIME_US
    if credential is not None and credential.expires_at_us:
        expires_at_us = min(expires_at_us, credential.expires_at_us)
    project_id = credential.project_id if credential else access_token.project_id if access_token else ""
    (user_id,) = shown.user_ids
    vouched = shown.admitted or parent
    return Payload(
        user_id=user_id,
        methods=tuple(shown.methods),
        project_id=project_id,
        domain_id="",
        system=False,
        issued_at_us=now_us,
        expires_at_us=expires_at_us,
        audit_ids=(audit_id, parent.audit_ids[-1]) if parent else (audit_id,),
        application_credential_id=credential.id if credential else "",
        access_token_id=access_token.access_token_id if access_token else "",
        idp_id=vouched.idp_id if vouched else "",
        protocol_id=vouched.protocol_id if vouched and vouched.idp_id else "",
        group_ids=vouched.group_ids if vouched else (),
    )


def grant(
    tx: Tx, user_id: str, scope: Scope, payload: Payload, shown: Shown, compliance: Compliance
) -> tuple[Payload, Actor]:
    """The payload and actor of a new token.

    Raises Unauthenticated when the scope does not exist, is disabled or gives the user no role; Forbidden for what would widen a delegation;
    NeedsMore when the user's rules ask for more methods.
    """
    _check_factors(tx, user_id, payload)
    if shown.parent is not None and shown.parent.is_delegated:
        raise Forbidden("A token of a trust, an application credential or OAuth can't be exchanged for another.")
    if payload.is_delegated:
        if scope.is_explicit and not _is_same_project(tx, scope, payload.project_id):
            raise Unauthenticated(REFUSED, detail="a delegated token has one scope only")
        return _resolve(tx, payload, compliance)
    if scope.trust_id:
        return _grant_trust(tx, scope.trust_id, payload, compliance)
    return _grant_scope(tx, scope, payload, compliance)


def _is_same_project(tx: Tx, scope: Scope, project_id: str) -> bool:
    project = find_project(tx, scope.project) if scope.project else None
    return project is not None and project.id == project_id


def _grant_scope(tx: Tx, scope: Scope, payload: Payload, compliance: Compliance) -> tuple[Payload, Actor]:
    project = find_project(tx, scope.project) if scope.project else None
    domain = find_domain(tx, scope.domain) if scope.domain else None
    if (scope.project and project is None) or (scope.domain and domain is None):
        raise Unauthenticated(REFUSED, detail="no such scope")
    if not scope.is_explicit:
        project = _default_project(tx, payload.user_id)
    scoped = msgspec.structs.replace(
        payload,
        project_id=project.id if project else "",
        domain_id=domain.id if domain else "",
        system=scope.system,
    )
    if not scope.is_explicit and project is not None:
        actor = resolve_actor(tx, scoped, compliance, payload.issued_at_us)
        # A default project without a role is no reason to keep the user out.
        return (scoped, actor) if actor is not None else _resolve(tx, payload, compliance)
    return _resolve(tx, scoped, compliance)


def _resolve(tx: Tx, payload: Payload, compliance: Compliance) -> tuple[Payload, Actor]:
    actor = resolve_actor(tx, payload, compliance, payload.issued_at_us)
    if actor is None:
        raise Unauthenticated(REFUSED, detail="user or scope disabled, or no role on the scope")
    return payload, actor


def _default_project(tx: Tx, user_id: str) -> Project | None:
    user = USERS.find(tx, id=user_id)
    if user is None or not user.default_project_id:
        return None
    return PROJECTS.find(tx, id=user.default_project_id, is_domain=False)


def _grant_trust(tx: Tx, trust_id: str, payload: Payload, compliance: Compliance) -> tuple[Payload, Actor]:
    """A token by a trust, for its trustee. Counts a use."""
    trust = TRUSTS.find(tx, id=trust_id)
    if trust is None or trust.trustee_user_id != payload.user_id or _has_expired(trust, payload.issued_at_us):
        raise Forbidden("The trust is not there, has expired or is somebody else's.")
    if not is_usable_user(tx, trust.trustor_user_id) or not is_usable_user(tx, trust.trustee_user_id):
        raise Forbidden("Trustor or trustee is disabled.")
    if not use_trust(tx, trust_id):
        raise Forbidden("The trust has no uses left.")
    expires_at_us = payload.expires_at_us
    if trust.expires_at_us:
        expires_at_us = min(expires_at_us, trust.expires_at_us)
    user_id = trust.trustor_user_id if trust.impersonation else trust.trustee_user_id
    trusted = msgspec.structs.replace(
        payload,
        user_id=user_id,
        project_id=trust.project_id,
        trust_id=trust_id,
        expires_at_us=expires_at_us,
        group_ids=(),
    )
    actor = resolve_actor(tx, trusted, compliance, payload.issued_at_us)
    if actor is None:
        raise Forbidden("The trustor no longer has the roles of the trust.")
    return trusted, actor


def _has_expired(trust: Trust, now_us: int) -> bool:
    return bool(trust.expires_at_us) and trust.expires_at_us <= now_us


def _check_factors(tx: Tx, user_id: str, payload: Payload) -> None:
    """Raise NeedsMore when the user's rules are not met. Rules that name a method we don't have are ignored, as upstream ignores them."""
    user = USERS.find(tx, id=user_id)
    if user is None or not user.options.get("multi_factor_auth_enabled") or payload.methods == SIGNED:
        return
    given = user.options.get("multi_factor_auth_rules") or []
    rules = [rule for rule in given if rule and all(method in CONFIGURED for method in rule)]
    if not rules or any(set(rule) <= set(payload.methods) for rule in rules):
        return
    unscoped = msgspec.structs.replace(payload, project_id="", domain_id="", system=False)
    _payload, actor = _resolve(tx, unscoped, Compliance())
    receipt = Receipt(user_id, payload.methods, payload.issued_at_us, payload.issued_at_us + RECEIPT_LIFETIME_US)
    raise NeedsMore(receipt, rules, actor)
