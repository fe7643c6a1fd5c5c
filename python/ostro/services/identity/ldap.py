"""One LDAP server as a source of users and groups, read only: blocking calls of python-ldap, to be run in a bounded worker.

Nothing here writes. Every call opens a connection of its own, has time limits of its own, and reads at most
``ENTRIES_MOST`` entries. What a user has typed reaches the server as a value only: filters and names are escaped, and an empty password, which a server
would take for an anonymous login, never gets there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import ldap
from ldap.controls import SimplePagedResultsControl
from ldap.dn import escape_dn_chars
from ldap.filter import escape_filter_chars

from ostro.model.errors import Unavailable
from ostro.services.identity.ldap_entries import LdapGroup, LdapLogin, LdapOptions, LdapUser

CONNECT_S = 5
CALL_S = 15
ENTRIES_MOST = 50_000
PAGE_ENTRIES = 500
TEXT_MOST_CHARS = 255
SCOPES = {"one": ldap.SCOPE_ONELEVEL, "sub": ldap.SCOPE_SUBTREE}
CERTIFICATES = {"demand": ldap.OPT_X_TLS_DEMAND, "allow": ldap.OPT_X_TLS_ALLOW, "never": ldap.OPT_X_TLS_NEVER}


def log_in(options: LdapOptions, name: str, local_id: str, password: str) -> LdapLogin | None:
    """The user of this name, or else of this local id, if the password is right; None otherwise. Raises Unavailable.

    For a user that isn't there a bind is tried all the same, so that the time tells nothing.
    """
    if not password or "\0" in password:
        return None
    with _connect(options) as connection:
        attribute, value = (options.user_name_attribute, name) if name else (options.user_id_attribute, local_id)
        condition = f"({attribute}={escape_filter_chars(value)})"
        found = list(_search_users(connection, options, condition))
        user = found[0] if len(found) == 1 else None
        nobody = f"{options.user_id_attribute}={escape_dn_chars(secrets.token_hex(8))},{options.users_dn}"
        with _connect(options, bind=False) as own:
            try:
                own.simple_bind_s(user.dn if user else nobody, password)
            except (
                ldap.INVALID_CREDENTIALS,
                ldap.NO_SUCH_OBJECT,
                ldap.INVALID_DN_SYNTAX,
                ldap.UNWILLING_TO_PERFORM,
                ldap.INAPPROPRIATE_AUTH,
                ldap.CONSTRAINT_VIOLATION,
            ):
                return None
        if user is None:
            return None
        return LdapLogin(user, tuple(_search_groups(connection, options, _membership(options, user))))


def read_users(options: LdapOptions) -> list[LdapUser]:
    """Every user. Raises Unavailable."""
    with _connect(options) as connection:
        return list(_search_users(connection, options))


def read_groups(options: LdapOptions) -> list[LdapGroup]:
    """Every group. Raises Unavailable."""
    with _connect(options) as connection:
        return list(_search_groups(connection, options))


def _membership(options: LdapOptions, user: LdapUser) -> str:
    value = user.local_id if options.group_members_are_ids else user.dn
    return f"({options.group_member_attribute}={escape_filter_chars(value)})"


@contextmanager
def _connect(options: LdapOptions, *, bind: bool = True) -> Iterator[Any]:
    """A connection, as the reader that the options name unless told otherwise. What goes wrong with the server is Unavailable."""
    connection = None
    try:
        connection = ldap.initialize(options.url.replace(",", " "))
        connection.protocol_version = ldap.VERSION3
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, CONNECT_S)
        connection.set_option(ldap.OPT_TIMEOUT, CALL_S)
        connection.set_option(ldap.OPT_REFERRALS, int(options.chase_referrals))
        if options.use_tls or options.url.startswith("ldaps:"):
            _secure(connection, options)
        if bind:
            connection.simple_bind_s(options.user, options.password)
        yield connection
    except ldap.LDAPError as error:
        raise Unavailable(
            "The directory of this domain does not answer.", retry_after_s=10, detail=repr(error)
        ) from error
    finally:
        if connection is not None:
            _close(connection)


def _close(connection: Any) -> None:
    # It is being given up either way.
    with suppress(ldap.LDAPError):
        connection.unbind_s()


def _secure(connection: Any, options: LdapOptions) -> None:
    for option, value in (
        (ldap.OPT_X_TLS_CACERTFILE, options.tls_cacertfile),
        (ldap.OPT_X_TLS_CACERTDIR, options.tls_cacertdir),
    ):
        if value:
            connection.set_option(option, value)
    connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, CERTIFICATES[options.tls_req_cert])
    try:
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
    except ValueError as error:
        raise Unavailable("The certificates of this domain's directory can't be read.", retry_after_s=10) from error
    if options.use_tls:
        connection.start_tls_s()


Attributes = Mapping[str, list[bytes]]


def _search(
    connection: Any, options: LdapOptions, base: str, condition: str, wanted: list[str]
) -> Iterator[tuple[str, Attributes]]:
    """Entries below ``base``; nothing where there is no such tree."""
    page = SimplePagedResultsControl(True, size=options.page_size or PAGE_ENTRIES, cookie="")
    controls = [page] if options.page_size else []
    count = 0
    while True:
        try:
            number = connection.search_ext(
                base, SCOPES[options.query_scope], condition, wanted, serverctrls=controls, timeout=CALL_S
            )
            _kind, entries, _number, answered = connection.result3(number, timeout=CALL_S)
        except ldap.NO_SUCH_OBJECT:
            return
        for dn, attributes in entries:
            if dn is None:
                continue  # A referral.
            count += 1
            if count > ENTRIES_MOST:
                raise Unavailable(
                    f"The directory of this domain has more than {ENTRIES_MOST} entries.", retry_after_s=60
                )
            yield dn, {name.lower(): values for name, values in attributes.items()}
        cookie = next((one.cookie for one in answered if one.controlType == page.controlType), b"") if controls else b""
        if not cookie:
            return
        page.cookie = cookie


def _filter(objectclass: str, extra: str, condition: str) -> str:
    if extra and not extra.startswith("("):
        extra = f"({extra})"
    return f"(&(objectClass={escape_filter_chars(objectclass)}){extra}{condition})"


def _first(attributes: Attributes, name: str) -> str:
    values = attributes.get(name.lower(), [])
    return values[0].decode(errors="replace") if values else ""


def _search_users(connection: Any, options: LdapOptions, condition: str = "") -> Iterator[LdapUser]:
    """Users that have an id and a name of bearable length."""
    o = options
    names = [o.user_id_attribute, o.user_name_attribute, o.user_mail_attribute, o.user_description_attribute]
    names = [name for name in (*names, o.user_enabled_attribute) if name]
    text = _filter(o.user_objectclass, o.user_filter, condition)
    for dn, attributes in _search(connection, options, o.users_dn, text, names):
        local_id, name = _first(attributes, o.user_id_attribute), _first(attributes, o.user_name_attribute)
        if not local_id or not name or max(len(local_id), len(name)) > TEXT_MOST_CHARS:
            continue
        email = _first(attributes, o.user_mail_attribute)[:TEXT_MOST_CHARS]
        about = _first(attributes, o.user_description_attribute)[:TEXT_MOST_CHARS]
        yield LdapUser(local_id, name, normal_dn(dn), email, about, _is_enabled(options, attributes))


def _is_enabled(options: LdapOptions, attributes: Attributes) -> bool:
    """By a bit of a number where there is a mask (Active Directory's), else by a word; either way perhaps the other way round."""
    text = _first(attributes, options.user_enabled_attribute) or options.user_enabled_default
    if options.user_enabled_mask:
        try:
            return not int(text) & options.user_enabled_mask
        except ValueError:
            return False
    said = text.strip().lower() in ("true", "1", "yes", "on")
    return said != options.user_enabled_invert


def _search_groups(connection: Any, options: LdapOptions, condition: str = "") -> Iterator[LdapGroup]:
    o = options
    names = [o.group_id_attribute, o.group_name_attribute, o.group_desc_attribute, o.group_member_attribute]
    text = _filter(o.group_objectclass, o.group_filter, condition)
    for _dn, attributes in _search(connection, options, o.groups_dn, text, names):
        local_id, name = _first(attributes, o.group_id_attribute), _first(attributes, o.group_name_attribute)
        if not local_id or not name or max(len(local_id), len(name)) > TEXT_MOST_CHARS:
            continue
        raw = [value.decode(errors="replace") for value in attributes.get(o.group_member_attribute.lower(), [])]
        members = frozenset(raw if o.group_members_are_ids else map(normal_dn, raw))
        yield LdapGroup(local_id, name, _first(attributes, o.group_desc_attribute)[:TEXT_MOST_CHARS], members)


def normal_dn(dn: str) -> str:
    """A DN in one form: servers and groups may write the same one differently."""
    try:
        parts = ldap.dn.str2dn(dn)
    except ldap.DECODING_ERROR:
        return dn.lower()
    return str(ldap.dn.dn2str([[(name.lower(), value.lower(), kind) for name, value, kind in rdn] for rdn in parts]))
