"""Domains whose users and groups live in an LDAP server (domain configuration ``identity.driver: ldap``).

Passwords are verified there, by a bind. What the server says of users and groups is mirrored in rows: at every login for the one user, and as a whole when
somebody asks for the domain's users or groups, at most every ``REFRESH_S``, and by a sweep. While a server doesn't answer, its domain's logins are refused with
503 and everything else goes on with what was said last. Each domain has workers of its own, so that a server that hangs holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
import trio

from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.services.identity.federated import public_id
from ostro.services.identity.ldap_entries import (
    CERTIFICATES,
    SCOPES,
    LdapGroup,
    LdapLogin,
    LdapOptions,
    LdapUser,
    member_key,
)
from ostro.services.identity.sealing import Sealer
from ostro.store.database import Database, Tx
from ostro.store.directories import find_local_id, hide, list_mirrored, mirror_group, mirror_user, set_memberships
from ostro.store.domain_configs import DIRECTORIES_TOPIC, DOMAIN_CONFIGS
from ostro.store.groups import GROUPS, Group
from ostro.store.tokens import TOPIC
from ostro.store.users import DIRECTORY, USERS, User, new_user

log = structlog.get_logger()
T = TypeVar("T")

WORKERS = 4
"""Calls to one server at once."""
LOGIN_S = 20.0
READ_S = 120.0
REFRESH_S = 10.0
ROWS_AT_ONCE = 500
SEALED = "sealed:"
"""Before a sealed password, as it is kept."""


# `ldap` is imported by the worker that needs it first: as libldap loads, it looks up this machine's own name, which takes ten seconds where no DNS answers.


def _log_in(options: LdapOptions, name: str, local_id: str, password: str) -> LdapLogin | None:
    from ostro.services.identity import ldap

    return ldap.log_in(options, name, local_id, password)


def _read_users(options: LdapOptions) -> list[LdapUser]:
    from ostro.services.identity import ldap

    return ldap.read_users(options)


def _read_groups(options: LdapOptions) -> list[LdapGroup]:
    from ostro.services.identity import ldap

    return ldap.read_groups(options)


def seal_password(sealer: Sealer, config: Any, group: str = "") -> Any:
    """A configuration, or one option of a group, whose password for the server is sealed."""
    if not isinstance(config, dict):
        return config
    if group == "ldap" and isinstance(config.get("password"), str):
        return {**config, "password": SEALED + sealer.seal(config["password"])}
    if isinstance(config.get("ldap"), dict):
        return {**config, "ldap": seal_password(sealer, config["ldap"], "ldap")}
    return config


def read_options(config: dict[str, dict[str, Any]]) -> LdapOptions | None:
    """The server that a domain's configuration names; None without one. Raises Invalid."""
    if config.get("identity", {}).get("driver") != "ldap":
        return None
    given = {name: value for name, value in config.get("ldap", {}).items() if value is not None}
    try:
        options = msgspec.convert(given, LdapOptions, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid option of group ldap: {error}") from error
    if options.query_scope not in SCOPES or options.tls_req_cert not in CERTIFICATES:
        raise Invalid(
            "Invalid option of group ldap: query_scope is one or sub, tls_req_cert is demand, allow or never."
        )
    if not options.url.startswith(("ldap://", "ldaps://", "ldapi://")):
        raise Invalid("Invalid option of group ldap: url is no address of an LDAP server.")
    return options


def list_options(tx: Tx) -> dict[str, LdapOptions]:
    """Domain -> its server. A configuration from before it was checked, and that can't be read, is none."""
    out = {}
    for row in DOMAIN_CONFIGS.list(tx):
        try:
            options = read_options(row.config)
        except Invalid as error:
            log.warning("the configuration of a domain can't be used", domain=row.domain_id, detail=error.message)
            continue
        if options is not None:
            out[row.domain_id] = options
    return out


class Directories:
    """Speaks to the servers of all domains, for one process."""

    def __init__(self, world: World, db: Database, sealer: Sealer) -> None:
        self._world = world
        self._db = db
        self._sealer = sealer
        self._options: dict[str, LdapOptions] | None = None
        self._pools: dict[str, Pool] = {}
        self._locks: dict[str, trio.Lock] = {}
        self._fresh_until_s: dict[str, float] = {}
        db.doorbell.subscribe(DIRECTORIES_TOPIC, self._forget)

    def _forget(self) -> None:
        self._options = None
        self._fresh_until_s.clear()

    async def _known(self) -> dict[str, LdapOptions]:
        if self._options is None:
            self._options = await self._db.read(list_options)
        return self._options

    async def _call(
        self, domain_id: str, deadline_s: float, fn: Callable[..., T], options: LdapOptions, *args: object
    ) -> T:
        if options.password.startswith(SEALED):
            secret = self._sealer.open(options.password.removeprefix(SEALED))
            options = msgspec.structs.replace(options, password=secret)
        pool = self._pools.setdefault(domain_id, Pool(f"LDAP of {domain_id}", WORKERS))
        return await self._world.threads.run(pool, fn, options, *args, deadline_s=deadline_s)

    async def verify(self, domain_id: str, name: str, user_id: str, password: str) -> str:
        """The id of the user whose password it is, found by name or, without one, by id; empty when it isn't. Raises Unavailable."""
        options = (await self._known()).get(domain_id)
        if options is None:
            return ""
        local_id = "" if name else await self._db.read(find_local_id, user_id)
        if not name and not local_id:
            return ""
        login = await self._call(domain_id, LOGIN_S, _log_in, options, name, local_id, password)
        return await self._db.run(mirror_login, domain_id, options, login, self._world.now_us()) if login else ""

    async def refresh(self, *domain_ids: str) -> None:
        """Bring the mirrors of these domains up to date, those that are a server's. One that doesn't answer stays as it is."""
        known = await self._known()
        for domain_id in domain_ids:
            if domain_id in known:
                await self._refresh(domain_id, known[domain_id])

    async def refresh_all(self) -> None:
        """Bring every mirror up to date."""
        known = await self._known()
        async with trio.open_nursery() as nursery:
            for domain_id, options in known.items():
                nursery.start_soon(self._refresh, domain_id, options)

    async def refresh_of(self, *, user_id: str = "", group_id: str = "") -> None:
        """Bring the mirror up to date that a user or a group is in, if it is in one."""
        if await self._known():
            await self.refresh(await self._db.read(_domain_of, user_id, group_id))

    async def _refresh(self, domain_id: str, options: LdapOptions) -> None:
        async with self._locks.setdefault(domain_id, trio.Lock()):
            if self._fresh_until_s.get(domain_id, 0.0) > trio.current_time():
                return
            try:
                users = await self._call(domain_id, READ_S, _read_users, options)
                groups = await self._call(domain_id, READ_S, _read_groups, options)
                await self._mirror(domain_id, options, users, groups)
            except Unavailable as error:
                log.warning("a directory can't be read", domain=domain_id, detail=error.detail or error.message)
            self._fresh_until_s[domain_id] = trio.current_time() + REFRESH_S

    async def _mirror(
        self, domain_id: str, options: LdapOptions, users: list[LdapUser], groups: list[LdapGroup]
    ) -> None:
        now_us = self._world.now_us()
        for start in range(0, len(users), ROWS_AT_ONCE):
            await self._db.run(mirror_users, domain_id, options, users[start : start + ROWS_AT_ONCE], now_us)
        ids = {member_key(options, user): public_id(domain_id, "user", user.local_id) for user in users}
        await self._db.run(mirror_groups, domain_id, options, groups, ids)
        await self._db.run(
            hide_others, domain_id, options, {*ids.values()}, {_group_id(domain_id, group) for group in groups}
        )


def _is_current(tx: Tx, domain_id: str, options: LdapOptions) -> bool:
    """Whether this is still the domain's directory: it may have been changed while it was read."""
    row = DOMAIN_CONFIGS.find(tx, domain_id=domain_id)
    return row is not None and read_options(row.config) == options


def _domain_of(tx: Tx, user_id: str, group_id: str) -> str:
    row = USERS.find(tx, id=user_id) if user_id else GROUPS.find(tx, id=group_id)
    return row.domain_id if row is not None and row.source else ""


def _group_id(domain_id: str, group: LdapGroup) -> str:
    return public_id(domain_id, "group", group.local_id)


def _user_row(domain_id: str, user: LdapUser, now_us: int) -> User:
    id_ = public_id(domain_id, "user", user.local_id)
    return msgspec.structs.replace(
        new_user(id_, id_, "", domain_id=domain_id, now_us=now_us),
        password_set_at_us=0,
        enabled=user.enabled,
        email=user.email,
        description=user.description,
        source=DIRECTORY,
        shown_name=user.name,
    )


def _group_row(domain_id: str, group: LdapGroup) -> Group:
    id_ = _group_id(domain_id, group)
    return Group(id_, id_, domain_id, group.description, {}, source=DIRECTORY, shown_name=group.name)


def mirror_users(tx: Tx, domain_id: str, options: LdapOptions, users: Sequence[LdapUser], now_us: int) -> None:
    """Make the users' rows what the directory says."""
    if not _is_current(tx, domain_id, options):
        return
    changed = [mirror_user(tx, _user_row(domain_id, user, now_us), user.local_id) for user in users]
    if any(changed):
        tx.ring(TOPIC)


def mirror_groups(
    tx: Tx, domain_id: str, options: LdapOptions, groups: Sequence[LdapGroup], ids: dict[str, str]
) -> None:
    """Make the groups' rows and members what the directory says; ``ids`` are the users' by what groups call them."""
    if not _is_current(tx, domain_id, options):
        return
    changed = [mirror_group(tx, _group_row(domain_id, group), group.local_id) for group in groups]
    wanted = {_group_id(domain_id, group): {ids[one] for one in group.members if one in ids} for group in groups}
    if set_memberships(tx, domain_id, wanted) or any(changed):
        tx.ring(TOPIC)


def hide_others(tx: Tx, domain_id: str, options: LdapOptions, user_ids: set[str], group_ids: set[str]) -> None:
    """What was mirrored and isn't among these is gone."""
    if not _is_current(tx, domain_id, options):
        return
    for table, present in (("users", user_ids), ("groups", group_ids)):
        gone = sorted(list_mirrored(tx, table, domain_id) - present)
        if gone:
            hide(tx, table, gone)
            tx.ring(TOPIC)


def mirror_login(tx: Tx, domain_id: str, options: LdapOptions, login: LdapLogin, now_us: int) -> str:
    """The id of the user that has just logged in, whose row and groups are brought up to date; empty when the domain has another directory by now."""
    if not _is_current(tx, domain_id, options):
        return ""
    row = _user_row(domain_id, login.user, now_us)
    changed = [mirror_user(tx, row, login.user.local_id)]
    changed += [mirror_group(tx, _group_row(domain_id, group), group.local_id) for group in login.groups]
    wanted = {_group_id(domain_id, group): {row.id} for group in login.groups}
    if set_memberships(tx, domain_id, wanted, row.id) or any(changed):
        tx.ring(TOPIC)
    return row.id
