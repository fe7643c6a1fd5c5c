"""Every identity command of the ``openstack`` client, unpatched, once at least.

One process runs them all, because the client takes longer to start than to work; it makes the client's shell anew for each command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import entry_points
from typing import Any

import pytest
import yaml

from ostro.testing.openstack import Shell, lines_of
from ostro.testing.up import Up

FILES: dict[str, Any] = {
    "access": [{"method": "GET", "path": "/v2.1/servers", "service": "compute"}],
    "filters": {"interface": "public"},
    "fewer": {"interface": "admin"},
    "rules": [{"remote": [{"type": "OIDC-sub"}], "local": [{"user": {"name": "{0}"}}]}],
    "other": [{"remote": [{"type": "OIDC-name"}], "local": [{"user": {"name": "{0}"}}]}],
    "policy": {"rule": "role:admin"},
}
SCRIPTS = {
    "regions, services and endpoints": """
        region create cmd-r1 --description d
        region create cmd-r2 --parent-region cmd-r1
        region list --parent-region cmd-r1 -> cmd-r2
        region set cmd-r2 --description new
        region show cmd-r2 -> new
        service create cmd-type --name cmd-service --description d
        service set cmd-service --name cmd-renamed --disable
        service list --long -> cmd-renamed
        service show cmd-renamed -> cmd-type
        endpoint: endpoint create cmd-renamed public http://127.0.0.1:9/cmd --region cmd-r2
        endpoint set {endpoint[id]} --url http://127.0.0.1:9/other
        endpoint show {endpoint[id]} -> 127.0.0.1:9/other
        endpoint list --region cmd-r2 -> 127.0.0.1:9/other
        project create cmd-endpoints
        endpoint add project {endpoint[id]} cmd-endpoints
        endpoint list --project cmd-endpoints -> 127.0.0.1:9/other
        endpoint remove project {endpoint[id]} cmd-endpoints
        endpoint group create cmd-group {filters} --description d
        endpoint group set cmd-group --name cmd-group2 --filters {fewer}
        endpoint group show cmd-group2 -> admin
        endpoint group add project cmd-group2 cmd-endpoints
        endpoint group list --project cmd-endpoints -> cmd-group2
        endpoint group remove project cmd-group2 cmd-endpoints
        endpoint group delete cmd-group2
        ! endpoint group show cmd-group2
        project delete cmd-endpoints
        endpoint delete {endpoint[id]}
        ! endpoint show {endpoint[id]}
        service delete cmd-renamed
        region delete cmd-r2 cmd-r1
        ! region show cmd-r1
        catalog list -> identity
        catalog show identity -> endpoints
    """,
    "domains, projects, users and groups": """
        domain: domain create cmd-domain --description d --immutable
        ! domain set cmd-domain --description new
        domain set cmd-domain --no-immutable
        domain set cmd-domain --description new
        domain show cmd-domain -> new
        domain list --name cmd-domain -> cmd-domain
        project create cmd-top --domain cmd-domain --tag a --property k=v
        project create cmd-leaf --domain cmd-domain --parent cmd-top
        project create cmd-leaf --domain cmd-domain --or-show -> cmd-leaf
        project set cmd-top --domain cmd-domain --tag b --remove-tag a --description new
        project show cmd-top --domain cmd-domain --children -> cmd-top
        project show cmd-leaf --domain cmd-domain --parents -> cmd-leaf
        project list --domain cmd-domain --tags b --long --sort name:desc -> cmd-top
        project list --domain cmd-domain --limit 1 -> cmd
        user create cmd-user --domain cmd-domain --password pw --email a@b.c --multi-factor-auth-rule password --or-show
        user set cmd-user --domain cmd-domain --name cmd-user2 --description new --ignore-password-expiry --disable-multi-factor-auth
        user show cmd-user2 --domain cmd-domain -> ignore_password_expiry
        user list --domain cmd-domain --long --enabled -> a@b.c
        group create cmd-team --domain cmd-domain --description d
        group set cmd-team --domain cmd-domain --name cmd-team2
        group add user cmd-team2 cmd-user2 --group-domain cmd-domain --user-domain cmd-domain
        group contains user cmd-team2 cmd-user2 --group-domain cmd-domain --user-domain cmd-domain
        group list --user cmd-user2 --user-domain cmd-domain -> cmd-team2
        user list --group cmd-team2 --domain {domain[id]} -> cmd-user2
        group show cmd-team2 --domain cmd-domain -> cmd-team2
        group remove user cmd-team2 cmd-user2 --group-domain cmd-domain --user-domain cmd-domain
        role create cmd-local --domain cmd-domain
        role list --domain cmd-domain -> cmd-local
        role set cmd-local --domain cmd-domain --name cmd-local2
        role show cmd-local2 --domain cmd-domain -> cmd-local2
        role delete cmd-local2 --domain cmd-domain
        role create cmd-role --immutable
        ! role delete cmd-role
        role set cmd-role --no-immutable
        role set cmd-role --description new
        implied role create cmd-role --implied-role reader
        implied role list -> cmd-role
        implied role delete cmd-role --implied-role reader
        role add cmd-role --project cmd-top --user cmd-user2 --user-domain cmd-domain --project-domain cmd-domain --inherited
        role add cmd-role --domain cmd-domain --group cmd-team2 --group-domain cmd-domain
        role add cmd-role --system all --user cmd-user2 --user-domain cmd-domain
        role assignment list --names --user cmd-user2 --user-domain cmd-domain -> cmd-role
        role assignment list --system all --names -> cmd-user2
        role assignment list --effective --names --project cmd-leaf --project-domain cmd-domain -> cmd-user2
        role assignment list --auth-user --auth-project --names -> admin
        role remove cmd-role --system all --user cmd-user2 --user-domain cmd-domain
        role remove cmd-role --project cmd-top --user cmd-user2 --user-domain cmd-domain --project-domain cmd-domain --inherited
        role remove cmd-role --domain cmd-domain --group cmd-team2 --group-domain cmd-domain
        role delete cmd-role
        group delete cmd-team2 --domain cmd-domain
        user delete cmd-user2 --domain cmd-domain
        project delete cmd-leaf cmd-top --domain cmd-domain
        domain set cmd-domain --disable
        domain delete cmd-domain
        ! domain show cmd-domain
    """,
    "what a user has": """
        token: token issue
        token revoke {token[id]}
        ! token revoke {token[id]}
        user create cmd-ann --password pw-1 --project {project}
        role add member --user cmd-ann --project {project}
        --os-cloud ann user password set --original-password pw-1 --password pw-2
        ! --os-cloud ann token issue
        application credential create cmd-app --secret s --role member --role reader --unrestricted
        ruled: application credential create cmd-ruled --access-rules {access} --expiration 2100-01-01T00:00:00
        application credential list -> cmd-ruled
        application credential show cmd-ruled -> /v2.1/servers
        access_rules: access rule list -> /v2.1/servers
        access rule show {access_rules[0][ID]} -> GET
        application credential delete cmd-app cmd-ruled
        access rule delete {access_rules[0][ID]}
        ! access rule show {access_rules[0][ID]}
        credential: credential create admin secret --type cert
        credential set {credential[id]} --user admin --type cert --data other
        credential show {credential[id]} -> other
        credential list --type cert -> other
        credential delete {credential[id]}
        ! credential show {credential[id]}
        ec2: ec2 credentials create
        ec2 credentials list -> {ec2[access]}
        ec2 credentials show {ec2[access]} -> {ec2[secret]}
        ec2 credentials delete {ec2[access]}
        ! ec2 credentials show {ec2[access]}
        trust: trust create admin cmd-ann --project {project} --role member --impersonate --expiration 2100-01-01T00:00:00
        trust list --trustor admin -> {trust[id]}
        trust show {trust[id]} -> {trust[id]}
        trust delete {trust[id]}
        ! trust show {trust[id]}
        consumer: consumer create --description d
        consumer set {consumer[id]} --description new
        consumer show {consumer[id]} -> new
        consumer list -> new
        request: request token create --consumer-key {consumer[id]} --consumer-secret {consumer[secret]} --project {project}
        verifier: request token authorize --request-key {request[id]} --role member
        access token create --consumer-key {consumer[id]} --consumer-secret {consumer[secret]} --request-key {request[id]}
         --request-secret {request[secret]} --verifier {verifier[oauth_verifier]}
        consumer delete {consumer[id]}
        ! consumer show {consumer[id]}
        user delete cmd-ann
    """,
    "limits and policies": """
        service create cmd-limited --name cmd-limited
        registered: registered limit create cmd-things --service cmd-limited --default-limit 5 --description d --region RegionOne
        registered limit set {registered[id]} --default-limit 6
        registered limit list --service cmd-limited -> cmd-things
        registered limit show {registered[id]} -> 6
        limit: limit create cmd-things --project {project} --service cmd-limited --resource-limit 3 --region RegionOne
        limit set {limit[id]} --resource-limit 4
        limit list --project {project} --service cmd-limited -> cmd-things
        limit show {limit[id]} -> 4
        ! registered limit delete {registered[id]}
        limit delete {limit[id]}
        registered limit delete {registered[id]}
        ! registered limit show {registered[id]}
        service delete cmd-limited
        made: policy create {policy} --type application/json
        policy set {made[id]} --rules {access}
        policy list --long -> /v2.1/servers
        policy show {made[id]} -> /v2.1/servers
        policy delete {made[id]}
        ! policy show {made[id]}
    """,
    "federation": """
        identity provider create cmd-idp --remote-id cmd-remote --description d --authorization-ttl 5
        identity provider set cmd-idp --description new --remote-id cmd-other --disable
        identity provider list --id cmd-idp -> cmd-idp
        identity provider show cmd-idp -> cmd-other
        mapping create cmd-mapping --rules {rules}
        mapping set cmd-mapping --rules {other}
        mapping list -> cmd-mapping
        mapping show cmd-mapping -> OIDC-name
        mapping create cmd-mapping2 --rules {rules}
        federation protocol create openid --identity-provider cmd-idp --mapping cmd-mapping
        federation protocol set openid --identity-provider cmd-idp --mapping cmd-mapping2
        federation protocol list --identity-provider cmd-idp -> openid
        federation protocol show openid --identity-provider cmd-idp -> cmd-mapping2
        federation protocol delete openid --identity-provider cmd-idp
        ! federation protocol show openid --identity-provider cmd-idp
        mapping delete cmd-mapping cmd-mapping2
        ! mapping show cmd-mapping
        identity provider delete cmd-idp
        ! identity provider show cmd-idp
        service provider create cmd-sp --auth-url http://127.0.0.1:9/auth --service-provider-url http://127.0.0.1:9/sp
        service provider set cmd-sp --description new --disable
        service provider list -> cmd-sp
        service provider show cmd-sp -> new
        service provider delete cmd-sp
        ! service provider show cmd-sp
        federation domain list -> Default
        federation project list -> admin
    """,
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, up: Up) -> Iterator[Shell]:
    """The client as the administrator."""
    folder = tmp_path_factory.mktemp("commands")
    admin = yaml.safe_load((up.state / "clouds.yaml").read_text())["clouds"]["ostro"]
    ann = {**admin, "auth": {**admin["auth"], "username": "cmd-ann", "password": "pw-1"}}
    with closing(Shell(folder, {"ostro": admin, "ann": ann})) as shell:
        for name, content in FILES.items():
            shell.saved[name] = folder / f"{name}.json"
            shell.saved[name].write_text(json.dumps(content))
        yield shell


@pytest.mark.parametrize("topic", SCRIPTS)
def test_the_commands(topic: str, shell: Shell) -> None:
    for line in lines_of(SCRIPTS[topic]):
        shell.run(line)


def test_no_command_is_left_out() -> None:
    every = {entry.name.replace("_", " ") for entry in entry_points(group="openstack.identity.v3")}
    run: set[str] = set()
    for line in (line for script in SCRIPTS.values() for line in lines_of(script)):
        words = line.removeprefix("! ").removeprefix("--os-cloud ann ").split(": ")[-1].split()
        run |= {" ".join(words[:count]) for count in range(2, 5)}
    assert every - run == set()
