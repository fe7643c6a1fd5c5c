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
from ostro.services.identity.assignments import Names, Shown, Target, Wanted
from ostro.store.assignments import SYSTEM_TARGET, TargetKind

ASSIGNMENT = shape({"scope": ANY_OBJECT, "role": ANY_OBJECT, "links": ANY_OBJECT})


def declare(kind: TargetKind, prefix: str, suffix: str = "", *, inherited: bool = False) -> None:
    """Declare the routes of one kind of target."""
    what = f"the {kind}" if kind is TargetKind.SYSTEM else f"a {kind}"
    below = ", inherited to the projects below" if inherited else ""
    name = f"{kind}_{'inherited_' if inherited else ''}"
    one = f"{prefix}/users/{{user_id}}/roles/{{role_id}}{suffix}"

    def target(req: Request) -> Target:
        return Target(kind, req.params.get("target_id", SYSTEM_TARGET), inherited)

    async def grant(req: Request) -> Reply:
        await req.run(assignments.grant_role, target(req), req.params["user_id"], req.params["role_id"])
        return Reply()

    async def check(req: Request) -> Reply:
        await req.read(assignments.check_grant, target(req), req.params["user_id"], req.params["role_id"])
        return Reply()

    async def revoke(req: Request) -> Reply:
        await req.run(assignments.revoke_role, target(req), req.params["user_id"], req.params["role_id"])
        return Reply()

    async def list_(req: Request) -> Reply:
        found = await req.read(assignments.list_grants, target(req), req.params["user_id"])
        return Reply(list_body(req, "roles", [role_view(req, role) for role in found]))

    for verb, handler, method, rule, summary in (
        ("create", grant, "PUT", Rule.ADMIN, f"Give a user a role on {what}{below}"),
        ("check", check, "GET", Rule.READER, f"Check that a user was given a role on {what}{below}"),
        ("revoke", revoke, "DELETE", Rule.ADMIN, f"Take a role on {what} from a user{below}"),
    ):
        handler.__name__ = f"{verb}_{name}grant"
        policy = f"identity:{verb}_{'system_grant_for_user' if kind is TargetKind.SYSTEM else 'grant'}"
        IDENTITY.route(method, one, policy=policy, rule=rule, status=204, summary=summary)(handler)
    list_.__name__ = f"list_{name}grants"
    IDENTITY.route(
        "GET",
        f"{prefix}/users/{{user_id}}/roles{suffix}",
        policy="identity:list_grants",
        rule=Rule.READER,
        response=list_shape("roles", ROLE),
        summary=f"List the roles that a user was given on {what}{below}",
    )(list_)


declare(TargetKind.PROJECT, "/v3/projects/{target_id}")
declare(TargetKind.DOMAIN, "/v3/domains/{target_id}")
declare(TargetKind.SYSTEM, "/v3/system")
declare(TargetKind.PROJECT, "/v3/OS-INHERIT/projects/{target_id}", "/inherited_to_projects", inherited=True)
declare(TargetKind.DOMAIN, "/v3/OS-INHERIT/domains/{target_id}", "/inherited_to_projects", inherited=True)


def parse_wanted(req: Request) -> Wanted:
    """The filters of the list. A flag without a value is set."""
    query = req.query
    if query.get("group.id"):
        raise Invalid("This cloud has no groups.")
    if query.get("scope.project.id"):
        kind, target_id = TargetKind.PROJECT, query["scope.project.id"]
    elif query.get("scope.domain.id"):
        kind, target_id = TargetKind.DOMAIN, query["scope.domain.id"]
    elif query.get("scope.system"):
        kind, target_id = TargetKind.SYSTEM, SYSTEM_TARGET
    else:
        kind, target_id = None, ""
    effective, subtree = is_set(req, "effective"), is_set(req, "include_subtree")
    if subtree and kind is not TargetKind.PROJECT:
        raise Invalid("scope.project.id must be specified if include_subtree is also specified")
    return Wanted(
        user_id=query.get("user.id", ""),
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
    out: dict[str, Any] = {"name": entry.name}
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
    user, role = {"id": row.actor_id}, {"id": line.role_id}
    if named:
        if row.actor_id in names.users:
            user |= _named(names.users[row.actor_id], names)
        if line.role_id in names.roles:
            role |= {"name": names.roles[line.role_id].name}
    links = {"assignment": req.url(_path(row.target_kind, row.target_id, row.actor_id, row.role_id, row.inherited))}
    if line.role_id != row.role_id:
        links["prior_role"] = req.url(f"/identity/v3/roles/{row.role_id}/implies/{line.role_id}")
    return {"scope": scope, "user": user, "role": role, "links": links}


def _path(kind: TargetKind, target_id: str, user_id: str, role_id: str, inherited: bool) -> str:
    where = "system" if kind is TargetKind.SYSTEM else f"{kind}s/{target_id}"
    if inherited:
        return f"/identity/v3/OS-INHERIT/{where}/users/{user_id}/roles/{role_id}/inherited_to_projects"
    return f"/identity/v3/{where}/users/{user_id}/roles/{role_id}"


@IDENTITY.route(
    "GET",
    "/v3/role_assignments",
    policy="identity:list_role_assignments",
    rule=Rule.AUTHENTICATED,
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
    lines, names = await req.read(assignments.list_role_assignments, parse_wanted(req))
    named = is_set(req, "include_names")
    return Reply(list_body(req, "role_assignments", [view(req, line, names, named=named) for line in lines]))
