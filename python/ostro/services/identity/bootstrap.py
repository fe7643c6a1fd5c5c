"""The first rows of a cloud: the default domain, the roles, and an administrator."""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.ids import new_hex
from ostro.runtime.world import World
from ostro.store.assignments import ASSIGNMENTS, SYSTEM_TARGET, ActorKind, Assignment, TargetKind
from ostro.store.database import Tx
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS, Project
from ostro.store.roles import ROLES, Role
from ostro.store.users import USERS, User

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
    _add_project(tx, DEFAULT_DOMAIN_ID, "Default", "The default domain", is_domain=True, now_us=now_us)
    project_id = new_hex(world.random)
    _add_project(
        tx,
        project_id,
        admin.project_name,
        "Bootstrap project for initializing the cloud.",
        is_domain=False,
        now_us=now_us,
    )
    roles = {name: new_hex(world.random) for name in ROLE_NAMES}
    for name, role_id in roles.items():
        ROLES.insert(tx, Role(id=role_id, name=name, domain_id="", description="", options={}))
    for prior, implied in IMPLIED:
        tx.execute("INSERT INTO role_implications (prior_id, implied_id) VALUES (?, ?)", (roles[prior], roles[implied]))
    user_id = new_hex(world.random)
    USERS.insert(
        tx,
        User(
            id=user_id,
            name=admin.user_name,
            domain_id=DEFAULT_DOMAIN_ID,
            default_project_id="",
            enabled=True,
            password_hash=admin.password_hash,
            password_set_at_us=now_us,
            email="",
            description="",
            options={},
            extra={},
            created_at_us=now_us,
        ),
    )
    for kind, target_id in (
        (TargetKind.PROJECT, project_id),
        (TargetKind.SYSTEM, SYSTEM_TARGET),
        (TargetKind.DOMAIN, DEFAULT_DOMAIN_ID),
    ):
        ASSIGNMENTS.insert(tx, Assignment(ActorKind.USER, user_id, kind, target_id, roles["admin"], False))


def _add_project(tx: Tx, id_: str, name: str, description: str, *, is_domain: bool, now_us: int) -> None:
    PROJECTS.insert(
        tx,
        Project(
            id=id_,
            name=name,
            description=description,
            domain_id="" if is_domain else DEFAULT_DOMAIN_ID,
            parent_id="" if is_domain else DEFAULT_DOMAIN_ID,
            enabled=True,
            is_domain=is_domain,
            tags=[],
            options={},
            extra={},
            created_at_us=now_us,
        ),
    )
