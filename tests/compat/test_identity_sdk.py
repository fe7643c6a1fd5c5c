"""Every method of openstacksdk's identity layer, unpatched, against a served cloud: none is left out, because they are counted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import openstack
import pytest
from openstack import exceptions
from openstack.identity.v3._proxy import Proxy

from ostro.testing.up import Up

ABSENT: dict[str, str] = {}
"""Methods that upstream's Keystone doesn't serve, each with the reason. There is none at the moment."""
NEVER = "0" * 32


class Recorder:
    """The identity layer, which notes what is called."""

    def __init__(self, identity: Proxy) -> None:
        self._identity = identity
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._identity, name)


def names(found: Any) -> set[str]:
    return {one.name for one in found}


def ids(found: Any) -> set[str]:
    return {one.id for one in found}


def check_noun(
    sdk: Recorder,
    noun: str,
    plural: str,
    attrs: dict[str, Any],
    changes: dict[str, Any],
    *,
    by: str = "name",
    parents: tuple[Any, ...] = (),
    findable: bool = True,
) -> Any:
    """Create, find, get, list, update an object; it is returned, for the caller to delete."""
    made = getattr(sdk, f"create_{noun}")(*parents, **attrs)
    assert getattr(sdk, f"get_{noun}")(*parents, made.id).id == made.id
    assert made.id in ids(getattr(sdk, plural)(*parents))
    if findable:
        find = getattr(sdk, f"find_{noun}")
        assert find(*parents, made.id).id == made.id
        if by:
            assert find(*parents, getattr(made, by)).id == made.id
        assert find(*parents, NEVER) is None
        with pytest.raises(exceptions.NotFoundException):
            find(*parents, NEVER, ignore_missing=False)
    if changes:
        changed = getattr(sdk, f"update_{noun}")(*parents, made.id, **changes)
        shown = getattr(sdk, f"get_{noun}")(*parents, made.id)
        for name, value in changes.items():
            assert getattr(changed, name) == getattr(shown, name) == value, (noun, name)
    return made


def remove(sdk: Recorder, noun: str, *place: Any) -> None:
    """Delete it; then it is gone, and deleting it again is as its caller wants it."""
    delete = getattr(sdk, f"delete_{noun}")
    delete(*place)
    with pytest.raises(exceptions.NotFoundException):
        getattr(sdk, f"get_{noun}")(*place)
    delete(*place)
    with pytest.raises(exceptions.NotFoundException):
        delete(*place, ignore_missing=False)


def domains_and_their_config(sdk: Recorder, conn: Any) -> None:
    domain = check_noun(sdk, "domain", "domains", {"name": "sdk-domain"}, {"description": "new", "is_enabled": False})
    made = sdk.create_domain_config(domain, ldap={"url": "ldap://127.0.0.1:1", "user_tree_dn": "ou=u"})
    assert made.ldap.url == "ldap://127.0.0.1:1"
    sdk.update_domain_config(domain, ldap={"url": "ldap://127.0.0.1:2"})
    assert sdk.get_domain_config(domain).ldap.url == "ldap://127.0.0.1:2"
    sdk.delete_domain_config(domain)
    with pytest.raises(exceptions.NotFoundException):
        sdk.get_domain_config(domain)
    remove(sdk, "domain", domain.id)


def projects_users_and_groups(sdk: Recorder, conn: Any) -> None:
    project = check_noun(sdk, "project", "projects", {"name": "sdk-project", "tags": ["a"]}, {"description": "new"})
    group = check_noun(sdk, "group", "groups", {"name": "sdk-group"}, {"description": "new"})
    user = check_noun(sdk, "user", "users", {"name": "sdk-user", "password": "first"}, {"email": "a@b.example"})
    assert names(sdk.users(name="sdk-user")) == {"sdk-user"}
    assert names(sdk.projects(tags="a")) >= {"sdk-project"}
    sdk.add_user_to_group(user, group)
    assert sdk.check_user_in_group(user, group)
    assert ids(sdk.group_users(group)) == {user.id}
    assert ids(sdk.user_groups(user)) == {group.id}
    sdk.remove_user_from_group(user, group)
    assert not sdk.check_user_in_group(user, group)
    role = sdk.find_role("member")
    sdk.assign_project_role_to_user(project, user, role)
    assert ids(sdk.user_projects(user)) == {project.id}
    mine = Recorder(connect_as(conn, user, project, "first").identity)
    mine.update_password(user, "first", "second")
    assert connect_as(conn, user, project, "second").identity.get_token()
    sdk.called |= mine.called
    sdk.delete_user(user)
    assert sdk.wait_for_delete(user, interval=0.01, wait=5).id == user.id
    assert sdk.wait_for_status(group, "sdk-group", attribute="name").id == group.id
    sdk.create_user(name="sdk-user2")
    remove(sdk, "user", sdk.find_user("sdk-user2").id)
    remove(sdk, "group", group.id)
    remove(sdk, "project", project.id)


def connect_as(conn: Any, user: Any, project: Any, password: str) -> Any:
    """A connection of another user."""
    return openstack.connect(
        auth_url=conn.config.get_auth_args()["auth_url"],
        username=user.name,
        password=password,
        project_id=project.id,
        user_domain_id="default",
        region_name=conn.config.get_region_name(),
        load_yaml_config=False,
        load_envvars=False,
    )


def roles_and_assignments(sdk: Recorder, conn: Any) -> None:
    role = check_noun(sdk, "role", "roles", {"name": "sdk-role"}, {"description": "new"})
    user, group = sdk.create_user(name="sdk-u"), sdk.create_group(name="sdk-g")
    project, domain = sdk.create_project(name="sdk-p"), sdk.get_domain("default")
    for what, place in (("project", project), ("domain", domain)):
        for who, holder in (("user", user), ("group", group)):
            for inherited in (False, True):
                more = {"inherited": inherited}
                getattr(sdk, f"assign_{what}_role_to_{who}")(place, holder, role, **more)
                has = getattr(sdk, f"validate_{who}_has_{what}_role")
                assert has(place, holder, role, **more)
                if not inherited:
                    assert role.id in ids(sdk.role_assignments_filter(**{what: place, who: holder}))
                getattr(sdk, f"unassign_{what}_role_from_{who}")(place, holder, role, **more)
                assert not has(place, holder, role, **more)
    for who, holder in (("user", user), ("group", group)):
        getattr(sdk, f"assign_system_role_to_{who}")(holder, role, "all")
        assert getattr(sdk, f"validate_{who}_has_system_role")(holder, role, "all")
        assert role.id in ids(sdk.role_assignments_filter(**{"system": "all", who: holder}))
        found = list(sdk.role_assignments(**{f"{who}_id": holder.id, "scope_system": True}))
        assert [one.role["id"] for one in found] == [role.id]
        getattr(sdk, f"unassign_system_role_from_{who}")(holder, role, "all")
        assert not getattr(sdk, f"validate_{who}_has_system_role")(holder, role, "all")
    for delete, one in ((sdk.delete_user, user), (sdk.delete_group, group), (sdk.delete_project, project)):
        delete(one)
    remove(sdk, "role", role.id)


def regions_services_and_endpoints(sdk: Recorder, conn: Any) -> None:
    region = check_noun(sdk, "region", "regions", {"id": "sdk-r"}, {"description": "new"}, by="")
    service = check_noun(sdk, "service", "services", {"name": "sdk-s", "type": "sdk-type"}, {"description": "new"})
    where = {"service_id": service.id, "interface": "public", "region_id": region.id, "url": "http://127.0.0.1:9"}
    endpoint = check_noun(sdk, "endpoint", "endpoints", where, {"url": "http://127.0.0.1:8"}, by="")
    project = sdk.create_project(name="sdk-ep")
    sdk.associate_endpoint_with_project(project, endpoint)
    assert ids(sdk.project_endpoints(project)) == {endpoint.id}
    assert ids(sdk.endpoint_projects(endpoint)) == {project.id}
    sdk.disassociate_endpoint_from_project(project, endpoint)
    assert ids(sdk.endpoint_projects(endpoint)) == set()
    group = check_noun(
        sdk,
        "endpoint_group",
        "endpoint_groups",
        {"name": "sdk-eg", "filters": {"service_id": service.id}},
        {"description": "new"},
    )
    assert ids(sdk.endpoint_group_endpoints(group)) == {endpoint.id}
    sdk.associate_project_with_endpoint_group(group, project)
    assert ids(sdk.endpoint_group_projects(group)) == {project.id}
    assert ids(sdk.project_endpoint_groups(project)) == {group.id}
    sdk.disassociate_project_from_endpoint_group(group, project)
    assert ids(sdk.endpoint_group_projects(group)) == set()
    remove(sdk, "endpoint_group", group.id)
    remove(sdk, "endpoint", endpoint.id)
    remove(sdk, "service", service.id)
    remove(sdk, "region", region.id)
    sdk.delete_project(project)


def policies_and_credentials(sdk: Recorder, conn: Any) -> None:
    policy = check_noun(
        sdk, "policy", "policies", {"blob": "{}", "type": "application/json"}, {"blob": '{"a": 1}'}, by=""
    )
    remove(sdk, "policy", policy.id)
    given = {"type": "cert", "blob": "{}", "user_id": conn.current_user_id}
    credential = check_noun(sdk, "credential", "credentials", given, {"blob": '{"a": 1}'}, by="")
    remove(sdk, "credential", credential.id)


def limits(sdk: Recorder, conn: Any) -> None:
    service = sdk.create_service(name="sdk-l", type="sdk-limits")
    given = {"service_id": service.id, "resource_name": "lemons", "default_limit": 5}
    registered = check_noun(sdk, "registered_limit", "registered_limits", given, {"default_limit": 6}, findable=False)
    project = sdk.create_project(name="sdk-lp")
    own = {"service_id": service.id, "resource_name": "lemons", "resource_limit": 3, "project_id": project.id}
    limit = check_noun(sdk, "limit", "limits", own, {"resource_limit": 2}, findable=False)
    remove(sdk, "limit", limit.id)
    remove(sdk, "registered_limit", registered.id)
    sdk.delete_project(project)
    sdk.delete_service(service)


def tokens(sdk: Recorder, conn: Any) -> None:
    mine = conn.identity.get_token()
    project = sdk.create_project(name="sdk-t")
    user = sdk.create_user(name="sdk-t", password="pw")
    sdk.assign_project_role_to_user(project, user, sdk.find_role("reader"))
    token = connect_as(conn, user, project, "pw").identity.get_token()
    assert sdk.check_token(token) and sdk.check_token(token, allow_expired=True)
    shown = sdk.validate_token(token)
    assert shown.user["id"] == user.id and shown.catalog
    assert not sdk.validate_token(token, nocatalog=True).catalog
    sdk.revoke_token(token)
    assert not sdk.check_token(token)
    with pytest.raises(exceptions.NotFoundException):
        sdk.validate_token(token)
    assert sdk.check_token(mine)
    sdk.delete_user(user)
    sdk.delete_project(project)


def trusts_and_application_credentials(sdk: Recorder, conn: Any) -> None:
    me, project = conn.current_user_id, conn.current_project_id
    trustee = sdk.create_user(name="sdk-trustee", password="pw")
    given = {
        "trustor_user_id": me,
        "trustee_user_id": trustee.id,
        "project_id": project,
        "is_impersonation": False,
        "roles": [{"name": "member"}],
    }
    trust = check_noun(sdk, "trust", "trusts", given, {}, by="")
    remove(sdk, "trust", trust.id)
    sdk.delete_user(trustee)
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]
    credential = sdk.create_application_credential(me, "sdk-ac", access_rules=rules)
    assert sdk.get_application_credential(me, credential.id).name == "sdk-ac"
    assert sdk.find_application_credential(me, "sdk-ac").id == credential.id
    assert sdk.find_application_credential(me, NEVER) is None
    assert credential.id in ids(sdk.application_credentials(me))
    (rule,) = [one for one in sdk.access_rules(me) if one.path == "/v2.1/servers"]
    assert sdk.get_access_rule(me, rule.id).method == "GET"
    with pytest.raises(exceptions.ForbiddenException):
        sdk.delete_access_rule(me, rule.id)
    remove(sdk, "application_credential", me, credential.id)
    remove(sdk, "access_rule", me, rule.id)


def federation(sdk: Recorder, conn: Any) -> None:
    rules = [{"remote": [{"type": "OIDC-sub"}], "local": [{"user": {"name": "{0}"}}]}]
    other = [{"remote": [{"type": "OIDC-name"}], "local": [{"user": {"name": "{0}"}}]}]
    mapping = check_noun(sdk, "mapping", "mappings", {"id": "sdk-m", "rules": rules}, {"rules": other}, by="")
    idp = check_noun(sdk, "identity_provider", "identity_providers", {"id": "sdk-idp"}, {"description": "new"}, by="")
    protocol = check_noun(
        sdk,
        "federation_protocol",
        "federation_protocols",
        {"id": "openid", "mapping_id": mapping.id},
        {},
        by="",
        parents=(idp.id,),
    )
    assert sdk.update_federation_protocol(idp, protocol.id, mapping_id=mapping.id).mapping_id == mapping.id
    remove(sdk, "federation_protocol", idp.id, protocol.id)
    remove(sdk, "identity_provider", idp.id)
    remove(sdk, "mapping", mapping.id)
    given = {"id": "sdk-sp", "auth_url": "https://east.example/v3", "sp_url": "https://east.example/sp"}
    provider = check_noun(sdk, "service_provider", "service_providers", given, {"description": "new"}, by="")
    remove(sdk, "service_provider", provider.id)


PARTS: tuple[Callable[[Recorder, Any], None], ...] = (
    domains_and_their_config,
    projects_users_and_groups,
    roles_and_assignments,
    regions_services_and_endpoints,
    policies_and_credentials,
    limits,
    tokens,
    trusts_and_application_credentials,
    federation,
)


def test_every_method(up: Up) -> None:
    conn = up.connect()
    sdk = Recorder(conn.identity)
    for part in PARTS:
        part(sdk, conn)
    methods = {name for name, fn in vars(Proxy).items() if inspect.isfunction(fn) and not name.startswith("_")}
    assert len(methods) > 150
    assert methods - sdk.called == set(ABSENT)
    assert not sdk.called & set(ABSENT)
