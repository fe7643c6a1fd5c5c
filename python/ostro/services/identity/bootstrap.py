"""The first rows of a cloud: the default domain, the roles, and an administrator."""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.ids import new_hex
from ostro.runtime.world import World
from ostro.store.assignments import ASSIGNMENTS, SYSTEM_TARGET, ActorKind, Assignment, TargetKind
from ostro.store.database import Tx
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS, new_domain, new_project
from ostro.store.roles import ROLES, Role
from ostro.store.users import USERS, new_user

IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
ROLE_NAMES = ("admin", "manager", "member", "reader", "service")


@dataclass(frozen=True)
class Administrator:
    """The first user. ``password_hash`` is in PHC form."""

    password_hash: str
    user_name: str = "admin"
    project_name: str = "admin"


def is_bootstrapped(tx: Tx) -> bool:
    """Whether the first rows are there."""
    return PROJECTS.find(tx, id=DEFAULT_DOMAIN_ID) is not None


def bootstrap(tx: Tx, world: World, admin: Administrator) -> None:
    """Make the first rows unless they are there; then nothing changes, the password neither."""
    if is_bootstrapped(tx):
        return
    now_us = world.now_us()
    PROJECTS.insert(tx, new_domain(DEFAULT_DOMAIN_ID, "Default", "The default domain", now_us=now_us))
    project_id = new_hex(world.random)
    description = "Bootstrap project for initializing the cloud."
    PROJECTS.insert(tx, new_project(project_id, admin.project_name, description, now_us=now_us))
    roles = {name: new_hex(world.random) for name in ROLE_NAMES}
    for name, role_id in roles.items():
        ROLES.insert(tx, Role(id=role_id, name=name, domain_id="", description="", options={}))
    for prior, implied in IMPLIED:
        tx.execute("INSERT INTO role_implications (prior_id, implied_id) VALUES (?, ?)", (roles[prior], roles[implied]))
    user_id = new_hex(world.random)
    USERS.insert(tx, new_user(user_id, admin.user_name, admin.password_hash, now_us=now_us))
    for kind, target_id in (
        (TargetKind.PROJECT, project_id),
        (TargetKind.SYSTEM, SYSTEM_TARGET),
        (TargetKind.DOMAIN, DEFAULT_DOMAIN_ID),
    ):
        ASSIGNMENTS.insert(tx, Assignment(ActorKind.USER, user_id, kind, target_id, roles["admin"], False))
