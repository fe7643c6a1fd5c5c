"""Signing in by an OpenID provider with the standard clients, unpatched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import keystoneauth1.exceptions
import pytest
import yaml
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from ostro.testing.oidc import OidcServer
from ostro.testing.openstack import OpenStack
from ostro.testing.slapd import ROOT_DN, ROOT_PASSWORD, SUFFIX, Slapd, why_not
from ostro.testing.up import Up

RULES = """[
  {"remote": [{"type": "HTTP_OIDC_SUB"}, {"type": "OIDC-name"}], "local": [{"user": {"id": "{0}", "name": "{1}"}}]},
  {"remote": [{"type": "OIDC-sub", "any_one_of": ["ostro"]}], "local": [{"user": {"name": "robot"}}]},
  {"remote": [{"type": "OIDC-sub"}], "local": [{"group": {"name": "feds", "domain": {"name": "Default"}}}]}
]"""
CALLBACK = "http://localhost/callback"


@dataclass(frozen=True)
class Federation:
    """A cloud that takes a provider's users into the project ``fed``."""

    up: Up
    oidc: OidcServer
    admin: OpenStack

    @property
    def arguments(self) -> dict[str, Any]:
        """What every plugin wants to know."""
        return {"auth_url": f"{self.up.endpoint}/identity/v3", "identity_provider": "acme", "protocol": "openid"}

    @property
    def client(self) -> dict[str, Any]:
        """How a program speaks to the provider."""
        discovery = f"{self.oidc.issuer}/.well-known/openid-configuration"
        return {"client_id": "ostro", "client_secret": "hush", "discovery_endpoint": discovery}

    def run(self, tmp_path: Path, kind: str, **auth: str) -> OpenStack:
        """The ``openstack`` command with a plugin of keystoneauth."""
        cloud = {
            "auth_type": kind,
            "auth": {**self.arguments, **auth, "project_name": "fed", "project_domain_id": "default"},
        }
        (tmp_path / "clouds.yaml").write_text(
            yaml.safe_dump({"clouds": {"ostro": {**cloud, "region_name": "RegionOne"}}})
        )
        return OpenStack(tmp_path / "clouds.yaml")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Set up with the command line, as an operator does it."""
    state = tmp_path_factory.mktemp("federation")
    with OidcServer() as oidc, Up(state) as up:
        provider = {"issuer": oidc.issuer, "client_id": "ostro", "client_secret": "hush"}
        (state / "identity.yaml").write_text(yaml.safe_dump({"federation": {"providers": [provider]}}))
        up.start()
        admin = OpenStack(state / "clouds.yaml")
        rules = state / "rules.json"
        rules.write_text(RULES)
        admin("identity", "provider", "create", "--remote-id", oidc.issuer, "acme")
        admin("mapping", "create", "--rules", str(rules), "acme")
        admin("federation", "protocol", "create", "--identity-provider", "acme", "--mapping", "acme", "openid")
        admin("project", "create", "fed")
        admin("group", "create", "feds")
        admin("role", "add", "--group", "feds", "--project", "fed", "member")
        yield Federation(up, oidc, admin)


def test_an_access_token_on_the_command_line(federation: Federation, tmp_path: Path) -> None:
    ann = federation.run(tmp_path, "v3oidcaccesstoken", access_token=federation.oidc.access_token())
    token = ann("token", "issue")
    shown = federation.admin("user", "show", token["user_id"])
    assert shown["name"] == "Ann A."
    assert [one["Name"] for one in ann("server", "list")] == []
    assert ann.run("project", "create", "mine").returncode != 0
    bad = federation.run(tmp_path, "v3oidcaccesstoken", access_token="nonsense").run("token", "issue")
    assert bad.returncode != 0 and "401" in bad.stderr


def test_a_password_on_the_command_line(federation: Federation, tmp_path: Path) -> None:
    login = {"username": "bob", "password": "pw-bob", **federation.client}
    bob = federation.run(tmp_path, "v3oidcpassword", **login)
    assert bob("token", "issue")["project_id"]
    listed = federation.run(tmp_path, "v3oidcpassword", **login)("federation", "project", "list")
    assert [line["Name"] for line in listed] == ["fed"]


def test_a_directory_on_the_command_line(federation: Federation, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    identity = federation.up.connect().identity
    with Slapd() as slapd:
        slapd.add_group("staff", slapd.add_user("ann", "pw-ann"))
        domain = identity.create_domain(name="ldap-acme").id
        ldap = {
            "url": slapd.url,
            "user": ROOT_DN,
            "password": ROOT_PASSWORD,
            "suffix": SUFFIX,
            "user_id_attribute": "uid",
            "group_tree_dn": f"ou=Groups,{SUFFIX}",
            "group_name_attribute": "cn",
        }
        body = {"config": {"identity": {"driver": "ldap"}, "ldap": ldap}}
        assert identity.put(f"/domains/{domain}/config", json=body).status_code == 201
        listed = federation.admin("user", "list", "--domain", "ldap-acme", "--long")
        assert [(line["Name"], line["Enabled"]) for line in listed] == [("ann", True)]
        federation.admin("role", "add", "--group", "staff", "--group-domain", "ldap-acme", "--project", "fed", "reader")
        auth = {"auth_url": f"{federation.up.endpoint}/identity/v3", "username": "ann", "password": "pw-ann"}
        auth |= {"user_domain_name": "ldap-acme", "project_name": "fed", "project_domain_id": "default"}
        (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"ostro": {"auth": auth}}}))
        assert OpenStack(tmp_path / "clouds.yaml")("token", "issue")["project_id"]
        refused = federation.admin.run("user", "create", "eve", "--domain", "ldap-acme")
        assert refused.returncode != 0 and "LDAP does not support write operations" in refused.stderr


def test_client_credentials(federation: Federation) -> None:
    plugin = v3.OidcClientCredentials(
        **federation.arguments, **federation.client, project_name="fed", project_domain_id="default"
    )
    access = plugin.get_access(Session())
    assert access.username == "robot" and access.role_names == ["member", "reader"]
    assert access.is_federated


def test_an_authorization_code(federation: Federation) -> None:
    asked = {"response_type": "code", "client_id": "ostro", "redirect_uri": CALLBACK, "scope": "openid", "nonce": "n"}
    # The plugin doesn't know PKCE; this provider wants it of whoever comes with a challenge only.
    code = federation.oidc.log_in(f"{federation.oidc.issuer}/authorize?{urlencode(asked)}")["code"]
    plugin = v3.OidcAuthorizationCode(**federation.arguments, **federation.client, code=code, redirect_uri=CALLBACK)
    access = plugin.get_access(Session())
    assert access.username == "Ann A." and not access.scoped
    again = v3.OidcAuthorizationCode(**federation.arguments, **federation.client, code=code, redirect_uri=CALLBACK)
    with pytest.raises(keystoneauth1.exceptions.HttpError):
        again.get_access(Session())
