"""Signing in by an identity provider: from what it says of somebody to a user of ours, in one transaction.

Who an assertion is about is a *shadow* user: a row in the provider's domain under an id that is made of the domain and of what the provider calls the
user (as Keystone makes it), so that the same person is the same user for good, also when the name changes. Mapped groups count for the token that is
issued; where the provider has an ``authorization_ttl`` they also last that many minutes in themselves.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import structlog

from ostro.model.context import Context
from ostro.model.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from ostro.model.mapping import Assertion, DomainRef, Mapped, MappedProject, MappedUser, apply_rules, prepare_rules
from ostro.services.identity.access import missing
from ostro.services.identity.tokens import REFUSED
from ostro.store.assignments import ASSIGNMENTS, ActorKind, Assignment, TargetKind
from ostro.store.database import Tx
from ostro.store.federation import (
    FEDERATED_USERS,
    IDENTITY_PROVIDERS,
    MAPPINGS,
    PROTOCOLS,
    FederatedUser,
    IdentityProvider,
    Protocol,
)
from ostro.store.groups import GROUPS, verify_member
from ostro.store.projects import PROJECTS, Project, new_project
from ostro.store.roles import ROLES, Role
from ostro.store.tokens import TOPIC
from ostro.store.users import FEDERATION, USERS, User, new_user

log = structlog.get_logger()

UNIQUE_ID_MOST_CHARS = 1024
NAME_MOST_CHARS = 255
PROJECTS_MOST = 100


class Source(NamedTuple):
    """Who vouches, and how it speaks."""

    provider: IdentityProvider
    protocol: Protocol


class Admitted(NamedTuple):
    """Who signed in. A local user's token is like any other of that user: then ``idp_id`` is empty."""

    user_id: str
    protocol_id: str
    idp_id: str = ""
    group_ids: tuple[str, ...] = ()


def find_source(tx: Tx, idp_id: str, protocol_id: str) -> Source:
    """An enabled provider and one of its protocols. Raises NotFound, Forbidden."""
    provider = IDENTITY_PROVIDERS.find(tx, id=idp_id)
    if provider is None:
        raise missing("identity provider", idp_id)
    if not provider.enabled:
        raise Forbidden(f"Identity Provider {idp_id} is disabled.")
    protocol = PROTOCOLS.find(tx, idp_id=idp_id, id=protocol_id)
    if protocol is None:
        raise missing("federated protocol", protocol_id)
    return Source(provider, protocol)


def list_sources(tx: Tx, protocol_id: str) -> list[Source]:
    """Every enabled provider that speaks the protocol."""
    protocols = {row.idp_id: row for row in PROTOCOLS.list(tx, id=protocol_id)}
    providers = IDENTITY_PROVIDERS.list(tx, id=set(protocols), enabled=True, order="id")
    return [Source(provider, protocols[provider.id]) for provider in providers]


def admit(tx: Tx, context: Context, idp_id: str, protocol_id: str, assertion: Assertion) -> Admitted:
    """The user that a verified assertion is about, made or brought up to date. Raises Unauthenticated, Forbidden, NotFound, Invalid."""
    source = find_source(tx, idp_id, protocol_id)
    _check_remote_id(source, assertion)
    mapping = MAPPINGS.find(tx, id=source.protocol.mapping_id)
    if mapping is None:
        raise missing("mapping", source.protocol.mapping_id)
    mapped = apply_rules(prepare_rules(mapping.rules), mapping.schema_version, assertion)
    if mapped.user.local:
        return Admitted(_find_local(tx, mapped.user), protocol_id)
    user = _shadow(tx, context, source, mapped.user)
    group_ids = _find_groups(tx, mapped, mapping.id)
    if source.provider.authorization_ttl:
        for group_id in group_ids:
            verify_member(tx, group_id, user.id, idp_id, context.now_us)
    _provide_projects(tx, context, source.provider, user, mapped.projects)
    return Admitted(user.id, protocol_id, idp_id, group_ids)


def _check_remote_id(source: Source, assertion: Assertion) -> None:
    """The attribute that the protocol names must say that it is this provider who speaks."""
    attribute = source.protocol.remote_id_attribute
    if not attribute or not source.provider.remote_ids:
        return
    said = assertion.get(attribute)
    if not said:
        raise Invalid("Could not find Identity Provider identifier in environment.")
    if not set(said) <= set(source.provider.remote_ids):
        raise Forbidden("Incoming identity provider identifier not included among the accepted identifiers.")


def _find_domain(tx: Tx, ref: DomainRef) -> Project | None:
    wanted = {"id": ref.id} if ref.id else {"name": ref.name}
    return PROJECTS.find(tx, is_domain=True, **wanted) if ref else None


def _find_local(tx: Tx, mapped: MappedUser) -> str:
    """A user that is here already. Who it is not is refused as a wrong password is."""
    if mapped.id:
        user = USERS.find(tx, id=mapped.id)
    else:
        domain = _find_domain(tx, mapped.domain)
        user = USERS.find(tx, name=mapped.name, domain_id=domain.id) if domain and mapped.name else None
    if user is None or not user.enabled:
        raise Unauthenticated(REFUSED, detail="no such local user, or it is disabled")
    return user.id


def public_id(domain_id: str, kind: str, local_id: str) -> str:
    """The id of a user (or group) of another's, as Keystone makes it."""
    return hashlib.sha256(f"{domain_id}{kind}{local_id}".encode()).hexdigest()


def _shadow(tx: Tx, context: Context, source: Source, mapped: MappedUser) -> User:
    """The shadow of a user, made at the first visit."""
    unique_id = quote(mapped.id or mapped.name)
    name = mapped.name or mapped.id
    if not unique_id:
        raise Unauthenticated(REFUSED, detail="the mapping gives neither a user's id nor a name")
    if len(unique_id) > UNIQUE_ID_MOST_CHARS or len(name) > NAME_MOST_CHARS:
        raise Unauthenticated(REFUSED, detail="the user's id or name is too long")
    idp_id, protocol_id = source.provider.id, source.protocol.id
    known = FEDERATED_USERS.find(tx, idp_id=idp_id, protocol_id=protocol_id, unique_id=unique_id)
    if known is not None:
        return _refresh(tx, USERS.get(tx, known.user_id), name, mapped.email)
    domain = _find_domain(tx, mapped.domain) if mapped.domain else PROJECTS.find(tx, id=source.provider.domain_id)
    if domain is None:
        raise Unauthenticated(REFUSED, detail="the user's domain is not there")
    id_ = public_id(domain.id, "user", unique_id)
    user = USERS.find(tx, id=id_)
    if user is None:
        user = new_user(id_, id_, "", domain_id=domain.id, now_us=context.now_us)
        user = msgspec.structs.replace(
            user, password_set_at_us=0, source=FEDERATION, shown_name=name, email=mapped.email
        )
        USERS.insert_new(tx, user)
    else:
        # The same id in the same domain, but by another provider or protocol, may be another person.
        raise Conflict("Conflict occurred attempting to store federated_user - Duplicate entry.")
    FEDERATED_USERS.insert_new(tx, FederatedUser(idp_id, protocol_id, unique_id, id_))
    return _refresh(tx, user, name, mapped.email)


def _refresh(tx: Tx, user: User, name: str, email: str) -> User:
    """Bring a shadow up to date. A user that an administrator has linked by hand keeps its own name and address."""
    if user.source != FEDERATION:
        return user
    changes = {"shown_name": name} if name != user.shown_name else {}
    if email and email != user.email:
        changes["email"] = email
    if not changes:
        return user
    USERS.update(tx, user.id, **changes)
    tx.ring(TOPIC)
    return msgspec.structs.replace(user, **changes)


def _find_groups(tx: Tx, mapped: Mapped, mapping_id: str) -> tuple[str, ...]:
    """Ids of the mapped groups. One by id must be there; names that nobody has given to a group mean nothing."""
    found: dict[str, None] = {}
    for group_id in mapped.group_ids:
        if GROUPS.find(tx, id=group_id) is None:
            raise Forbidden(f"Group {group_id} returned by mapping {mapping_id} was not found in the backend.")
        found[group_id] = None
    for named in mapped.groups:
        domain = _find_domain(tx, named.domain)
        group = GROUPS.find(tx, name=named.name, domain_id=domain.id) if domain else None
        if group is not None:
            found[group.id] = None
    return tuple(found)


def _provide_projects(
    tx: Tx, context: Context, provider: IdentityProvider, user: User, wanted: tuple[MappedProject, ...]
) -> None:
    """Make the projects that the mapping gives the user, and give it the roles. All roles must be there before anything is made."""
    if len(wanted) > PROJECTS_MOST:
        raise Forbidden(f"The mapping gives more than {PROJECTS_MOST} projects.")
    places = [(item, _project_domain(tx, provider, item)) for item in wanted]
    roles = {
        (i, name): _need_role(tx, name, domain, provider) for i, (p, domain) in enumerate(places) for name in p.roles
    }
    for i, (item, domain) in enumerate(places):
        project = PROJECTS.find(tx, name=item.name, domain_id=domain.id, is_domain=False)
        if project is None:
            project = new_project(context.new_hex_id(), item.name, "", domain_id=domain.id, now_us=context.now_us)
            PROJECTS.insert(tx, project)
        for name in item.roles:
            role_id = roles[i, name].id
            row = Assignment(ActorKind.USER, user.id, TargetKind.PROJECT, project.id, role_id, False)
            if ASSIGNMENTS.insert_new(tx, row):
                tx.ring(TOPIC)


def _project_domain(tx: Tx, provider: IdentityProvider, item: MappedProject) -> Project:
    domain = _find_domain(tx, item.domain) if item.domain else PROJECTS.find(tx, id=provider.domain_id, is_domain=True)
    if domain is None:
        raise NotFound("domain", item.domain.id or item.domain.name)
    if not item.name.strip() or len(item.name) > 64:
        raise Invalid("A project of the mapping needs a name of 1 to 64 characters.")
    return domain


def _need_role(tx: Tx, name: str, domain: Project, provider: IdentityProvider) -> Role:
    role = ROLES.find(tx, name=name, domain_id="") or ROLES.find(tx, name=name, domain_id=domain.id)
    if role is None:
        if ROLES.list(tx, name=name, limit=1):
            raise Forbidden(f"Domain specific role {name} cannot be assigned within the domain of {provider.id}.")
        raise NotFound("role", name, f"Could not find role: {name}.")
    return role
