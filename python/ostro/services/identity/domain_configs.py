"""Configuration of single domains: the groups ``identity``, ``ldap`` and ``security_compliance`` (read-only) and their options, kept as Keystone keeps them.

What ``security_compliance`` says is the cloud's own: see ``compliance``. A password in the group ``ldap`` is never shown, and sealed where it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Forbidden, Invalid, NotFound
from ostro.services.identity.access import need_domain
from ostro.services.identity.compliance import Compliance
from ostro.services.identity.directories import read_options
from ostro.store.database import Tx
from ostro.store.directories import forget_directory
from ostro.store.domain_configs import DIRECTORIES_TOPIC, DOMAIN_CONFIGS, DomainConfig
from ostro.store.tokens import TOPIC

Config = dict[str, dict[str, Any]]
SECRET = ("ldap", "password")

DEFAULTS: Config = {
    "identity": {"driver": "sql"},
    "ldap": {
        "url": "ldap://localhost",
        "user": None,
        "suffix": "cn=example,cn=com",
        "query_scope": "one",
        "page_size": 0,
        "chase_referrals": None,
        "user_tree_dn": None,
        "user_filter": None,
        "user_objectclass": "inetOrgPerson",
        "user_id_attribute": "cn",
        "user_name_attribute": "sn",
        "user_mail_attribute": "mail",
        "user_description_attribute": "description",
        "user_pass_attribute": "userPassword",
        "user_enabled_attribute": "enabled",
        "user_enabled_invert": False,
        "user_enabled_mask": 0,
        "user_enabled_default": "True",
        "group_tree_dn": None,
        "group_filter": None,
        "group_objectclass": "groupOfNames",
        "group_id_attribute": "cn",
        "group_name_attribute": "ou",
        "group_member_attribute": "member",
        "group_members_are_ids": False,
        "group_desc_attribute": "description",
        "tls_cacertfile": None,
        "tls_cacertdir": None,
        "use_tls": False,
        "tls_req_cert": "demand",
    },
}
"""Groups and options that a domain may set, with what holds when it doesn't."""


def check_config(config: Mapping[str, Any], group: str = "", option: str = "") -> None:
    """Raise Forbidden for groups and options that a domain may not set, Invalid for what is no configuration."""
    if not config:
        raise Invalid("No options specified.")
    for name, options in config.items():
        if name not in DEFAULTS:
            raise Forbidden(f"Group {name} is not supported for domain specific configurations.")
        if group and name != group:
            raise Forbidden(f"The configuration holds group {name} and the request is about group {group}.")
        if not isinstance(options, dict) or not options:
            raise Invalid(f"Group {name} needs options.")
        for key in options:
            if key not in DEFAULTS[name] and (name, key) != SECRET:
                raise Forbidden(f"Option {key} in group {name} is not supported for domain specific configurations.")
            if option and key != option:
                raise Forbidden(f"The configuration holds option {key} and the request is about option {option}.")


def _hide(config: Config) -> Config:
    return {
        name: {key: value for key, value in options.items() if (name, key) != SECRET}
        for name, options in config.items()
    }


def _merge(present: Config, given: Config) -> Config:
    return {name: {**present.get(name, {}), **given.get(name, {})} for name in {**present, **given}}


def _need(tx: Tx, context: Context, domain_id: str, verb: str) -> Config:
    context.enforce(f"identity:{verb}_domain_config")
    need_domain(tx, domain_id)
    found = DOMAIN_CONFIGS.find(tx, domain_id=domain_id)
    return found.config if found else {}


def _pick(config: Config, domain_id: str, group: str, option: str) -> Config | dict[str, Any]:
    """The whole, a group or an option. Raises NotFound."""
    what = f"option {option} in group {group}" if option else f"group {group}" if group else "any options"
    absent = NotFound(
        "domain configuration", domain_id, f"Could not find {what} in domain configuration for domain {domain_id}."
    )
    if group and group not in DEFAULTS:
        raise Forbidden(f"Group {group} is not supported for domain specific configurations.")
    if option and option not in DEFAULTS[group] and (group, option) != SECRET:
        raise Forbidden(f"Option {option} in group {group} is not supported for domain specific configurations.")
    if not config or (group and group not in config) or (option and option not in config[group]):
        raise absent
    if option:
        return {option: config[group][option]}
    return {group: config[group]} if group else config


def create_config(tx: Tx, context: Context, domain_id: str, given: Config) -> tuple[Config, bool]:
    """Put a configuration in the place of the domain's; and whether there was none."""
    present = _need(tx, context, domain_id, "create")
    check_config(given)
    _store(tx, domain_id, given)
    return _hide(given), not present


def _store(tx: Tx, domain_id: str, config: Config) -> None:
    """Keep it. A domain that has no directory any more has lost its directory's users."""
    DOMAIN_CONFIGS.delete(tx, domain_id)
    if config:
        DOMAIN_CONFIGS.insert(tx, DomainConfig(domain_id, config))
    if read_options(config) is None:
        forget_directory(tx, domain_id)
    tx.ring(DIRECTORIES_TOPIC, TOPIC)


def get_config(tx: Tx, context: Context, domain_id: str, group: str = "", option: str = "") -> Any:
    """The configuration, one of its groups, or one option of a group. Raises NotFound."""
    return _pick(_hide(_need(tx, context, domain_id, "get")), domain_id, group, option)


def update_config(tx: Tx, context: Context, domain_id: str, given: Config, group: str = "", option: str = "") -> Config:
    """Change options that are there. Raises NotFound for those that aren't."""
    present = _need(tx, context, domain_id, "update")
    given = {group: given} if option else given
    if not group:
        _pick(present, domain_id, "", "")
        for name, options in given.items() if isinstance(given, dict) else ():
            if name in DEFAULTS and isinstance(options, dict):
                for key in options:
                    _pick(present, domain_id, name, key)
    else:
        _pick(present, domain_id, group, option)
    check_config(given, group, option)
    merged = _merge(present, given)
    _store(tx, domain_id, merged)
    return _hide(merged)


def delete_config(tx: Tx, context: Context, domain_id: str, group: str = "", option: str = "") -> None:
    """Delete the configuration, a group or an option. Raises NotFound for a group or an option that isn't there."""
    present = _need(tx, context, domain_id, "delete")
    if not group:
        _store(tx, domain_id, {})
        return
    _pick(present, domain_id, group, option)
    left = {name: dict(options) for name, options in present.items()}
    if option:
        del left[group][option]
    if not option or not left[group]:
        del left[group]
    _store(tx, domain_id, left)


def get_defaults(tx: Tx, context: Context, group: str = "", option: str = "") -> Any:
    """What holds where a domain says nothing."""
    context.enforce("identity:get_domain_config_default")
    return _pick(DEFAULTS, "default", group, option)


def get_compliance(tx: Tx, context: Context, domain_id: str, option: str, compliance: Compliance) -> dict[str, Any]:
    """What passwords must look like, for whoever is to choose one."""
    context.enforce("identity:get_security_compliance_domain_config")
    need_domain(tx, domain_id)
    shown = {name: value or None for name, value in msgspec.structs.asdict(compliance).items()}
    told = {name: shown[name] for name in ("password_regex", "password_regex_description")}
    if option and option not in told:
        raise Forbidden(f"Reading security compliance information for {option} is not allowed.")
    return {option: told[option]} if option else told
