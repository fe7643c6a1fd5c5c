"""Role assignments: one path for each kind of target, and the list of them all.

Projects, domains and the system have the same four verbs, plain and inherited, so they are declared by one function. HEAD checks
as GET does: the frame answers it by the GET route.
"""

from __future__ import annotations

from typing import Any

from ostro.http.identity.roles import ROLE
from ostro.http.identity.roles import view as role_view
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import list_body, list_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, STRING, shape
from ostro.model.errors import Invalid
from ostro.services.identity import assignments
from ostro.services.identity.assignments import Holder, Names, Shown, Target, Wanted
from ostro.store.assignments import SYSTEM_TARGET, ActorKind, Assignment, TargetKind

ASSIGNMENT = shape({"scope": ANY_OBJECT, "role": ANY_OBJECT, "links": ANY_OBJECT})


def declare(
    kind: TargetKind, holder_kind: ActorKind, prefix: str, suffix: str = "", *, inherited: bool = False
) -> None:
    """Declare the routes of one kind of target for one kind of holder."""
    what = f"the {kind}" if kind is TargetKind.SYSTEM else f"a {kind}"
    below = ", inherited to the projects below" if inherited else ""
    name = f"{kind}_{'inherited_' if inherited else ''}{holder_kind}_"
    many = f"{prefix}/{holder_kind}s/{{holder_id}}/roles"
    one = f"{many}/{{role_id}}{suffix}"

    def target(req: Request) -> Target:
        return Target(kind, req.params.get("target_id", SYSTEM_TARGET), inherited)

    def holder(req: Request) -> Holder:
        return Holder(holder_kind, req.params["holder_id"])

    async def grant(req: Request) -> Reply:
        await req.run(assignments.grant_role, target(req), holder(req), req.params["role_id"])
        return Reply()

    async def check(req: Request) -> Reply:
        await req.read(assignments.check_grant, target(req), holder(req), req.params["role_id"])
        return Reply()

    async def revoke(req: Request) -> Reply:
        await req.run(assignments.revoke_role, target(req), holder(req), req.params["role_id"])
        return Reply()

    async def list_(req: Request) -> Reply:
        found = await req.read(assignments.list_grants, target(req), holder(req))
        return Reply(list_body(req, "roles", [role_view(req, role) for role in found]))

    system = kind is TargetKind.SYSTEM
    for verb, handler, method, summary in (
        ("create", grant, "PUT", f"Give a {holder_kind} a role on {what}{below}"),
        ("check", check, "GET", f"Check that a {holder_kind} was given a role on {what}{below}"),
        ("revoke", revoke, "DELETE", f"Take a role on {what} from a {holder_kind}{below}"),
    ):
        handler.__name__ = f"{verb}_{name}grant"
        policy = f"identity:{verb}_{f'system_grant_for_{holder_kind}' if system else 'grant'}"
        IDENTITY.route(method, one, policy=policy, rule=Rule.POLICY, status=204, summary=summary)(handler)
    list_.__name__ = f"list_{name}grants"
    IDENTITY.route(
        "GET",
        many + suffix,
        policy=f"identity:list_{f'system_grants_for_{holder_kind}' if system else 'grants'}",
        rule=Rule.POLICY,
        response=list_shape("roles", ROLE),
        summary=f"List the roles that a {holder_kind} was given on {what}{below}",
    )(list_)


for _kind in ActorKind:
    declare(TargetKind.PROJECT, _kind, "/v3/projects/{target_id}")
    declare(TargetKind.DOMAIN, _kind, "/v3/domains/{target_id}")
    declare(TargetKind.SYSTEM, _kind, "/v3/system")
    declare(TargetKind.PROJECT, _kind, "/v3/OS-INHERIT/projects/{target_id}", "/inherited_to_projects", inherited=True)
    declare(TargetKind.DOMAIN, _kind, "/v3/OS-INHERIT/domains/{target_id}", "/inherited_to_projects", inherited=True)


def parse_wanted(req: Request) -> Wanted:
    """The filters of the list. A flag without a value is set."""
    query = req.query
    effective, subtree = is_set(req, "effective"), is_set(req, "include_subtree")
    if query.get("user.id") and query.get("group.id"):
        raise Invalid("Specify a user or a group, not both")
    if effective and query.get("group.id"):
        raise Invalid("Combining effective and group filter will always result in an empty list.")
    scopes = [name for name in ("scope.project.id", "scope.domain.id", "scope.system") if query.get(name)]
    if len(scopes) > 1:
        raise Invalid("Specify a domain, a project or the system, not several")
    if effective and scopes == ["scope.domain.id"] and "scope.OS-INHERIT:inherited_to" in query:
        raise Invalid("Combining effective, domain and inherited filters will always result in an empty list.")
    if query.get("scope.project.id"):
        kind, target_id = TargetKind.PROJECT, query["scope.project.id"]
    elif query.get("scope.domain.id"):
        kind, target_id = TargetKind.DOMAIN, query["scope.domain.id"]
    elif query.get("scope.system"):
        kind, target_id = TargetKind.SYSTEM, SYSTEM_TARGET
    else:
        kind, target_id = None, ""
    if subtree and kind is not TargetKind.PROJECT:
        raise Invalid("scope.project.id must be specified if include_subtree is also specified")
    return Wanted(
        user_id=query.get("user.id", ""),
        group_id=query.get("group.id", ""),
        role_id=query.get("role.id", ""),
        target_kind=kind,
        target_id=target_id,
        inherited=True if query.get("scope.OS-INHERIT:inherited_to") == "projects" else None,
        effective=effective,
        subtree=subtree,
    )


def is_set(req: Request, name: str) -> bool:
    """A flag as Identity reads it: present, and not 0 or false."""
    return name in req.query and req.query[name].lower() not in ("0", "false")


def _named(entry: Any, names: Names) -> dict[str, Any]:
    """Name and domain of a user or project."""
    domain = names.projects.get(entry.domain_id)
    out: dict[str, Any] = {"name": getattr(entry, "display_name", entry.name)}
    if domain is not None:
        out["domain"] = {"id": domain.id, "name": domain.name}
    return out


def view(req: Request, line: Shown, names: Names, *, named: bool) -> dict[str, Any]:
    """One assignment as Identity shows it."""
    row = line.assignment
    if line.target_kind is TargetKind.SYSTEM:
        scope: dict[str, Any] = {"system": {"all": True}}
    else:
        scope = {line.target_kind.value: {"id": line.target_id}}
        project = names.projects.get(line.target_id)
        if named and project is not None:
            about = _named(project, names) if line.target_kind is TargetKind.PROJECT else {"name": project.name}
            scope[line.target_kind.value] |= about
    if row.inherited and row.target_id == line.target_id:
        scope["OS-INHERIT:inherited_to"] = "projects"
    holder, role = {"id": line.holder.id}, {"id": line.role_id}
    if named:
        known = names.users.get(line.holder.id) or names.groups.get(line.holder.id)
        if known is not None:
            holder |= _named(known, names)
        if line.role_id in names.roles:
            role |= _named(names.roles[line.role_id], names)
    links = {"assignment": req.url(_path(row))}
    if line.holder.id != row.actor_id:
        links["membership"] = req.url(f"/identity/v3/groups/{row.actor_id}/users/{line.holder.id}")
    if line.role_id != row.role_id:
        links["prior_role"] = req.url(f"/identity/v3/roles/{row.role_id}/implies/{line.role_id}")
    return {"scope": scope, line.holder.kind.value: holder, "role": role, "links": links}


def _path(row: Assignment) -> str:
    where = "system" if row.target_kind is TargetKind.SYSTEM else f"{row.target_kind}s/{row.target_id}"
    what = f"{row.actor_kind}s/{row.actor_id}/roles/{row.role_id}"
    if row.inherited:
        return f"/identity/v3/OS-INHERIT/{where}/{what}/inherited_to_projects"
    return f"/identity/v3/{where}/{what}"


@IDENTITY.route(
    "GET",
    "/v3/role_assignments",
    policy="identity:list_role_assignments",
    rule=Rule.POLICY,
    response=list_shape("role_assignments", ASSIGNMENT),
    query=dict.fromkeys(
        (
            "user.id",
            "group.id",
            "role.id",
            "scope.project.id",
            "scope.domain.id",
            "scope.system",
            "scope.OS-INHERIT:inherited_to",
            "effective",
            "include_names",
            "include_subtree",
        ),
        STRING,
    ),
    summary="List role assignments, as they are or as they take effect",
)
async def list_role_assignments(req: Request) -> Reply:
    wanted = parse_wanted(req)
    lines, names = await req.read(assignments.list_role_assignments, wanted)
    named = is_set(req, "include_names")
    return Reply(list_body(req, "role_assignments", [view(req, line, names, named=named) for line in lines]))
