"""The scopes that a user can ask a token for."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.store.assignments import (
    SYSTEM_TARGET,
    TargetKind,
    list_actor_ids,
    list_domains_of,
    list_projects_of,
    list_role_ids,
)
from ostro.store.database import Tx
from ostro.store.projects import Project


def _actor_ids(tx: Tx, context: Context) -> list[str]:
    return list_actor_ids(tx, context.user_id, context.now_us, context.actor.group_ids)


def list_own_projects(tx: Tx, context: Context) -> list[Project]:
    """Enabled projects on which the caller has a role."""
    return [project for project in list_projects_of(tx, _actor_ids(tx, context)) if project.enabled]


def list_own_domains(tx: Tx, context: Context) -> list[Project]:
    """Enabled domains on which the caller has a role."""
    return [domain for domain in list_domains_of(tx, _actor_ids(tx, context)) if domain.enabled]


def may_use_system(tx: Tx, context: Context) -> bool:
    """Whether the caller has a role on the system."""
    return bool(list_role_ids(tx, _actor_ids(tx, context), TargetKind.SYSTEM, SYSTEM_TARGET))
