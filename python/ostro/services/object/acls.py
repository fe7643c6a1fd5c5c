"""Who may read and write containers besides the account's owners: Swift's access lists.

A read list holds referrers (``.r:*``, ``.r:.example.com``, ``.r:-bad.example.com``) and ``.rlistings``; both lists hold ``project:user`` with
ids, either of which may be ``*``, and names of roles. Names are good instead of ids only of the default domain, because elsewhere anybody may be called
anything. Roles count on a project: whoever has one on a domain or on the system is nobody's owner here. Source: Swift's documentation "Access Control Lists (ACLs)".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from ostro.model.context import Actor
from ostro.model.errors import Invalid
from ostro.store.projects import DEFAULT_DOMAIN_ID

READERS = frozenset(("reader",))
OWNERS = frozenset(("member", "admin"))
RESELLERS = frozenset(("reselleradmin",))
"""Roles that own every account when they are on a project, as upstream ships (``ResellerAdmin``; roles are compared in lower case)."""


class Access(Enum):
    """What a request wants."""

    OWN = auto()
    """To change the account or a container: for its owners alone."""
    LOOK = auto()
    """To read the account itself: for its owners and readers."""
    LIST = auto()
    """To see a container and its listing."""
    READ = auto()
    """To read an object."""
    WRITE = auto()
    """To write or delete an object."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, and from which page."""

    actor: Actor
    referer: str = ""
    by_name: bool = True
    """Whether the account is of the default domain, so that names in its lists are that domain's."""


def is_owner(actor: Actor, project_id: str, access: Access) -> bool:
    """Whether the account's own project may do this by its roles; resellers may do anything to any account."""
    if not (actor.user_id and actor.project_id):
        return False
    if actor.roles & RESELLERS:
        return True
    if actor.project_id != project_id:
        return False
    if actor.roles & OWNERS:
        return True
    return access in (Access.LOOK, Access.LIST, Access.READ) and bool(actor.roles & READERS)


def is_allowed(visitor: Visitor, access: Access, read_acl: str, write_acl: str) -> bool:
    """Whether a container's lists let a visitor in."""
    if access is Access.WRITE:
        return _names(visitor, write_acl.split(","))
    if access not in (Access.LIST, Access.READ):
        return False
    entries = read_acl.split(",") if read_acl else []
    if _names(visitor, entries):
        return True
    if not _refers(visitor.referer, entries):
        return False
    return access is Access.READ or ".rlistings" in entries


def _names(visitor: Visitor, entries: Sequence[str]) -> bool:
    """Whether an entry names the actor, its project or a role of it."""
    actor = visitor.actor
    if not actor.user_id:
        return False
    projects, users = {"*", actor.project_id} - {""}, {"*", actor.user_id}
    if visitor.by_name and actor.project_domain_id == DEFAULT_DOMAIN_ID == actor.user_domain_id:
        projects.add(actor.project_name)
        users.add(actor.user_name)
    for entry in entries:
        project, colon, user = entry.partition(":")
        if not colon:
            if entry and actor.project_id and entry in actor.roles:
                return True
        elif project in projects and user in users:
            return True
    return False


def _refers(referer: str, entries: Sequence[str]) -> bool:
    """Whether the referrer entries let a page's host in; the last one that applies wins."""
    host = (urlsplit(referer).hostname or "unknown").lower()
    allowed = False
    for entry in entries:
        if not entry.startswith(".r:"):
            continue
        pattern = entry[3:]
        denies = pattern.startswith("-")
        pattern = pattern.removeprefix("-")
        if pattern == "*" or pattern == host or (pattern.startswith(".") and host.endswith(pattern)):
            allowed = not denies
    return allowed


def clean_acl(header: str, text: str) -> str:
    """A list in its plain form. Raises Invalid for what can't be understood."""
    entries: list[str] = []
    for raw in text.split(","):
        entry = raw.strip()
        if not entry:
            continue
        first, colon, second = (part.strip() for part in entry.partition(":"))
        if not first.startswith("."):
            entries.append(f"{first}:{second}" if colon else first)
        elif first in (".r", ".ref", ".referer", ".referrer") and colon:
            entries.append(_clean_referrer(header, entry, second))
        elif first == ".rlistings" and not colon and "read" in header:
            entries.append(first)
        else:
            raise Invalid(f"{header} : Unknown designator type {first!r} in ACL: {raw!r}")
    return ",".join(entries)


def _clean_referrer(header: str, entry: str, pattern: str) -> str:
    if "write" in header:
        raise Invalid(f"{header} : Referrers not allowed in write ACL: {entry!r}")
    denies = pattern.startswith("-")
    host = pattern.removeprefix("-").strip()
    if host != "*" and host.startswith("*"):
        host = host[1:]
    if not host or host == ".":
        raise Invalid(f"{header} : No host/domain value after referrer designation in ACL: {entry!r}")
    return f".r:{'-' if denies else ''}{host}"
