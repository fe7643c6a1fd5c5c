"""Identity by the standard clients, unpatched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keystoneauth1.exceptions
import keystoneauth1.identity.v3
import keystoneauth1.session
import pytest
import yaml

from ostro.testing.openstack import OpenStack
from ostro.testing.up import Up


@pytest.fixture
def admin(up: Up) -> Any:
    """openstacksdk as the administrator."""
    return up.connect()


def test_the_command_line(openstack: OpenStack, tmp_path: Path, up: Up) -> None:
    """A team gets a project: what an administrator types, and then a member of the team."""
    assert openstack("token", "issue")["project_id"]
    project = openstack("project", "create", "cli-red", "--description", "d", "--tag", "a", "--property", "k=v")
    assert (project["name"], project["description"], project["tags"]) == ("cli-red", "d", ["a"])
    assert openstack("project", "set", "cli-red", "--name", "cli-blue") is None
    assert openstack("project", "show", "cli-blue")["id"] == project["id"]
    user = openstack("user", "create", "cli-ann", "--password", "pw", "--project", "cli-blue", "--email", "a@b.c")
    assert user["default_project_id"] == project["id"]
    openstack("role", "add", "--project", "cli-blue", "--user", "cli-ann", "member")
    listed = openstack("role", "assignment", "list", "--user", "cli-ann", "--names")
    assert [(line["Role"], line["User"], line["Project"]) for line in listed] == [
        ("member", "cli-ann@Default", "cli-blue@Default")
    ]
    effective = openstack("role", "assignment", "list", "--user", "cli-ann", "--effective", "--names")
    assert {line["Role"] for line in effective} == {"member", "reader"}
    assert "cli-ann" in {line["Name"] for line in openstack("user", "list", "--project", "cli-blue")}

    clouds = yaml.safe_load((up.state / "clouds.yaml").read_text())
    clouds["clouds"]["ostro"]["auth"] |= {"username": "cli-ann", "password": "pw", "project_name": "cli-blue"}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(clouds))
    ann = OpenStack(tmp_path / "clouds.yaml")
    assert ann("token", "issue")["user_id"] == user["id"]
    refused = ann.run("project", "create", "mine")
    assert refused.returncode != 0 and "403" in refused.stderr
    changed = ann.run("user", "password", "set", "--original-password", "pw", "--password", "pw2")
    assert changed.returncode == 0, changed.stderr
    assert ann.run("token", "issue").returncode != 0

    openstack("role", "remove", "--project", "cli-blue", "--user", "cli-ann", "member")
    openstack("user", "delete", "cli-ann")
    openstack("project", "delete", "cli-blue")
    assert "cli-blue" not in {line["Name"] for line in openstack("project", "list")}


def test_the_catalogue_on_the_command_line(openstack: OpenStack) -> None:
    types = {line["Type"] for line in openstack("catalog", "list")}
    assert {"identity", "compute", "network", "image"} <= types
    assert {line["Type"] for line in openstack("service", "list")} == types
    endpoints = openstack("endpoint", "list", "--service", "identity", "--interface", "public")
    assert [line["URL"].endswith("/identity") for line in endpoints] == [True]
    assert [line["Region"] for line in openstack("region", "list")] == ["RegionOne"]
    assert {line["Name"] for line in openstack("role", "list")} >= {"admin", "member", "reader"}
    implied = {(line["Prior Role Name"], line["Implied Role Name"]) for line in openstack("implied", "role", "list")}
    assert ("member", "reader") in implied


def test_domains_on_the_command_line(openstack: OpenStack) -> None:
    openstack("domain", "create", "cli-heroes")
    openstack("project", "create", "cave", "--domain", "cli-heroes")
    assert [line["Name"] for line in openstack("project", "list", "--domain", "cli-heroes")] == ["cave"]
    openstack("domain", "set", "--disable", "cli-heroes")
    openstack("domain", "delete", "cli-heroes")
    assert "cli-heroes" not in {line["Name"] for line in openstack("domain", "list")}


def test_the_sdk(admin: Any) -> None:
    identity = admin.identity
    project = identity.create_project(name="sdk-red", description="d", tags=["x"])
    assert identity.find_project("sdk-red").id == project.id
    assert [p.id for p in identity.projects(tags="x")] == [project.id]
    user = identity.create_user(name="sdk-ann", password="pw", email="a@b.c")
    role = identity.find_role("reader")
    identity.assign_project_role_to_user(project, user, role)
    assert identity.validate_user_has_project_role(project, user, role)
    assert [r.name for r in identity.role_assignments_filter(project=project, user=user)] == ["reader"]
    assert [p.name for p in identity.user_projects(user)] == ["sdk-red"]
    identity.unassign_project_role_from_user(project, user, role)
    assert not identity.validate_user_has_project_role(project, user, role)
    updated = identity.update_user(user, description="new")
    assert updated.description == "new"
    identity.delete_user(user)
    identity.delete_project(project)
    assert identity.find_project("sdk-red") is None
    assert identity.find_user("sdk-ann") is None


def test_a_wrong_password(up: Up) -> None:
    auth = yaml.safe_load((up.state / "clouds.yaml").read_text())["clouds"]["ostro"]["auth"]
    plugin = keystoneauth1.identity.v3.Password(**{**auth, "password": "wrong"})
    with pytest.raises(keystoneauth1.exceptions.Unauthorized):
        plugin.get_token(keystoneauth1.session.Session())
