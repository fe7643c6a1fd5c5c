"""Identity's policies by upstream's names: each with its default rule and the scopes that a token must have one of.

An administrator of anything is an administrator of Identity, as upstream has it; a domain's manager manages its users, groups and projects and
may give away only the roles that ``domain_managed_target_role`` names. ``api/policy.yaml`` is the whole table, and policy.yaml overrides it.
"""

from __future__ import annotations

from ostro.model.policy import EVERY_SCOPE, Default

_SYSTEM_OR_PROJECT = frozenset(("system", "project"))
_PROJECT = frozenset(("project",))

ADMIN = "rule:admin_required"
SYSTEM_READER = "(role:reader and system_scope:all)"
READER = f"{ADMIN} or {SYSTEM_READER}"
_IN_DOMAIN = "domain_id:%({})s"
_OWN_USER = "user_id:%(target.user.id)s"
_OWN_CREDENTIAL = "user_id:%(target.credential.user_id)s"
_TRUSTOR = "user_id:%(target.trust.trustor_user_id)s"
_TRUSTEE = "user_id:%(target.trust.trustee_user_id)s"


def _domain(role: str, *places: str) -> str:
    """A role on the domain that each of these places names."""
    return "(" + " and ".join((f"role:{role}", *(_IN_DOMAIN.format(place) for place in places))) + ")"


def _project(role: str) -> str:
    """A role on the domain of a project. A domain is no project: its own domain is None."""
    return f"({_domain(role, 'target.project.domain_id')} and not None:%(target.project.domain_id)s)"


def _grants(role: str) -> str:
    """A role on the domain that holds both who gets the role and what it is on."""
    return " or ".join(
        _domain(role, who, what)
        for who in ("target.user.domain_id", "target.group.domain_id")
        for what in ("target.project.domain_id", "target.domain.id")
    )


_ROLE_OF_DOMAIN = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_GRANT = f"{ADMIN} or ({_grants('admin')}) and {_ROLE_OF_DOMAIN} or ({_grants('manager')}) and rule:domain_managed_target_role"
_OWN_PROJECT = "project_id:%(target.project.id)s"
_PROJECT_READER = f"{READER} or {_project('reader')} or {_OWN_PROJECT}"
_PROJECT_MANAGER = f"{ADMIN} or {_project('manager')}"

SHARED: dict[str, str] = {
    "admin_required": "role:admin or is_admin:1",
    "service_role": "role:service",
    "service_or_admin": "rule:admin_required or rule:service_role",
    "owner": "user_id:%(user_id)s",
    "admin_or_owner": "rule:admin_required or rule:owner",
    "token_subject": "user_id:%(target.token.user_id)s",
    "admin_or_token_subject": "rule:admin_required or rule:token_subject",
    "service_admin_or_token_subject": "rule:service_or_admin or rule:token_subject",
    "domain_managed_target_role": (
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s"
    ),
}
"""Rules that other rules name."""

_ADMINISTERED = (
    "consumer",
    "endpoint",
    "endpoint_group",
    "policy:policies",
    "service",
    "identity_provider",
    "mapping",
    "protocol",
    "service_provider",
    "domain_role",
)
"""Nouns that administrators change and system readers read, as ``noun`` or ``noun:plural``."""


def _administered() -> dict[str, Default]:
    out: dict[str, Default] = {}
    for entry in _ADMINISTERED:
        noun, _, plural = entry.partition(":")
        for verb in ("create", "update", "delete"):
            out[f"{verb}_{noun}"] = Default(ADMIN, _SYSTEM_OR_PROJECT)
        out[f"get_{noun}"] = out[f"list_{plural or noun + 's'}"] = Default(READER, _SYSTEM_OR_PROJECT)
    return out


_READ = (
    "list_projects_associated_with_endpoint_group list_endpoints_associated_with_endpoint_group"
    " get_endpoint_group_in_project list_endpoint_groups_for_project list_projects_for_endpoint check_endpoint_in_project"
    " list_endpoints_for_project check_policy_association_for_endpoint check_policy_association_for_service"
    " check_policy_association_for_region_and_service get_policy_for_endpoint list_endpoints_for_policy get_domain_config"
    " get_domain_config_default list_system_grants_for_user check_system_grant_for_user list_system_grants_for_group"
    " check_system_grant_for_group list_role_inference_rules get_implied_role list_implied_roles check_implied_role list_trusts"
)
_CHANGE = (
    "create_implied_role delete_implied_role add_endpoint_group_to_project remove_endpoint_group_from_project add_endpoint_to_project remove_endpoint_from_project"
    " create_policy_association_for_endpoint delete_policy_association_for_endpoint create_policy_association_for_service"
    " delete_policy_association_for_service create_policy_association_for_region_and_service"
    " delete_policy_association_for_region_and_service create_domain_config update_domain_config delete_domain_config"
    " create_system_grant_for_user revoke_system_grant_for_user create_system_grant_for_group revoke_system_grant_for_group"
    " create_domain update_domain delete_domain create_region update_region delete_region create_registered_limits"
    " update_registered_limit delete_registered_limit create_limits update_limit delete_limit create_role update_role delete_role"
)
_OAUTH1 = (
    "authorize_request_token get_access_token get_access_token_role list_access_tokens list_access_token_roles"
    " delete_access_token"
)
_ANYBODY = (
    "get_auth_catalog get_auth_projects get_auth_domains get_auth_system get_security_compliance_domain_config get_limit_model"
    " list_limits get_region list_regions get_registered_limit list_registered_limits list_projects_for_user"
    " list_domains_for_user authenticate versions change_password"
)

_PARTICULAR: dict[str, tuple[str, frozenset[str]]] = {
    "get_access_rule list_access_rules": (f"{SYSTEM_READER} or {_OWN_USER}", _SYSTEM_OR_PROJECT),
    "delete_access_rule": (f"(role:admin and system_scope:all) or {_OWN_USER}", _SYSTEM_OR_PROJECT),
    "get_application_credential list_application_credentials": (f"{READER} or rule:owner", _SYSTEM_OR_PROJECT),
    "create_application_credential": ("rule:owner", _PROJECT),
    "delete_application_credential": ("rule:admin_or_owner", _SYSTEM_OR_PROJECT),
    "get_credential list_credentials": (f"{READER} or {_OWN_CREDENTIAL}", EVERY_SCOPE),
    "create_credential update_credential delete_credential": (f"{ADMIN} or {_OWN_CREDENTIAL}", EVERY_SCOPE),
    "ec2_get_credential": (f"{READER} or {_OWN_CREDENTIAL}", _SYSTEM_OR_PROJECT),
    "ec2_list_credentials": (f"{READER} or rule:owner", _SYSTEM_OR_PROJECT),
    "ec2_create_credential ec2_delete_credential": (
        f"{ADMIN} or (role:member and {_OWN_CREDENTIAL})",
        _SYSTEM_OR_PROJECT,
    ),
    "ec2tokens_validate s3tokens_validate": ("rule:service_or_admin", EVERY_SCOPE),
    "list_revoke_events revocation_list": ("rule:service_or_admin", _SYSTEM_OR_PROJECT),
    "get_domain": (
        f"{READER} or token.domain.id:%(target.domain.id)s or token.project.domain.id:%(target.domain.id)s",
        EVERY_SCOPE,
    ),
    "list_domains": (f"{READER} or {_domain('reader', 'target.domain.id')}", EVERY_SCOPE),
    "check_grant": (f"{ADMIN} or ({SYSTEM_READER} or ({_grants('reader')}) and {_ROLE_OF_DOMAIN})", EVERY_SCOPE),
    "list_grants": (f"{READER} or {_grants('reader')}", EVERY_SCOPE),
    "create_grant revoke_grant": (_GRANT, EVERY_SCOPE),
    "get_group list_groups list_users_in_group": (
        f"{READER} or {_domain('reader', 'target.group.domain_id')}",
        EVERY_SCOPE,
    ),
    "list_groups_for_user": (
        f"{READER} or {_domain('reader', 'target.user.domain_id')} or user_id:%(user_id)s",
        EVERY_SCOPE,
    ),
    "create_group update_group delete_group": (
        f"{ADMIN} or {_domain('manager', 'target.group.domain_id')}",
        EVERY_SCOPE,
    ),
    "add_user_to_group remove_user_from_group": (
        f"{ADMIN} or {_domain('manager', 'target.group.domain_id', 'target.user.domain_id')}",
        EVERY_SCOPE,
    ),
    "check_user_in_group": (
        f"{READER} or {_domain('reader', 'target.group.domain_id', 'target.user.domain_id')}",
        EVERY_SCOPE,
    ),
    "get_limit": (
        f"{READER} or domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s"
        " or (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)",
        EVERY_SCOPE,
    ),
    "get_project list_project_tags get_project_tag": (_PROJECT_READER, EVERY_SCOPE),
    "create_project update_project delete_project update_project_tags create_project_tag delete_project_tags"
    " delete_project_tag": (_PROJECT_MANAGER, EVERY_SCOPE),
    "list_projects list_users list_role_assignments list_role_assignments_for_tree": (
        f"{READER} or {_domain('reader', 'target.domain_id')}",
        EVERY_SCOPE,
    ),
    "list_user_projects": (f"{READER} or {_domain('reader', 'target.user.domain_id')} or {_OWN_USER}", EVERY_SCOPE),
    "get_role": (f"{READER} or (role:manager and rule:domain_managed_target_role)", EVERY_SCOPE),
    "list_roles": (f"{READER} or (role:manager and not domain_id:None)", EVERY_SCOPE),
    "check_token": (f"{READER} or rule:token_subject", EVERY_SCOPE),
    "validate_token": (f"{READER} or rule:service_role or rule:token_subject", EVERY_SCOPE),
    "revoke_token": ("rule:admin_or_token_subject", EVERY_SCOPE),
    "create_trust": (_TRUSTOR, _PROJECT),
    "list_trusts_for_trustor": (f"{READER} or {_TRUSTOR}", _SYSTEM_OR_PROJECT),
    "list_trusts_for_trustee": (f"{READER} or {_TRUSTEE}", _SYSTEM_OR_PROJECT),
    "get_trust list_roles_for_trust get_role_for_trust": (f"{READER} or {_TRUSTOR} or {_TRUSTEE}", _SYSTEM_OR_PROJECT),
    "delete_trust": (f"{ADMIN} or {_TRUSTOR}", _SYSTEM_OR_PROJECT),
    "get_user": (f"{READER} or {_domain('reader', 'target.user.domain_id')} or {_OWN_USER}", EVERY_SCOPE),
    "create_user update_user delete_user": (f"{ADMIN} or {_domain('manager', 'target.user.domain_id')}", EVERY_SCOPE),
}


def _defaults() -> dict[str, Default]:
    out = _administered()
    out |= {name: Default(READER, _SYSTEM_OR_PROJECT) for name in _READ.split()}
    out |= {name: Default(ADMIN, _SYSTEM_OR_PROJECT) for name in _CHANGE.split()}
    out |= {name: Default(ADMIN, _PROJECT) for name in _OAUTH1.split()}
    out |= {name: Default("") for name in _ANYBODY.split()}
    for names, (rule, scopes) in _PARTICULAR.items():
        out |= {name: Default(rule, scopes) for name in names.split()}
    named = {f"identity:{name}": default for name, default in sorted(out.items())}
    return {name: Default(rule) for name, rule in SHARED.items()} | named


IDENTITY_POLICIES = _defaults()
