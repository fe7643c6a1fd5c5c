"""The systemd units: they parse, take privileges away, and what they start is a command of ours."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ostro.cli.install import ROLES, make_unit
from ostro.cli.main import main

EXPOSURE = {"api": 30, "controller": 30, "agent": 45, "all-in-one": 45}
"""What ``systemd-analyze security`` says at most, times ten."""


def read(text: str) -> dict[str, list[str]]:
    """The settings of a unit's service, each with what it is given."""
    service = text.partition("[Service]\n")[2].partition("\n[Install]")[0]
    found: dict[str, list[str]] = {}
    for line in service.splitlines():
        if not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_unit(role: str) -> None:
    service = read(make_unit(role, (sys.executable, "-m", "ostro"), "/srv/with space/100%"))
    words = shlex.split(service["ExecStart"][0])
    assert words[0] == sys.executable and words[-1] == "/srv/with space/100%%"
    done = subprocess.run([*words[:4], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--state" in done.stdout
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == (["strict"], ["yes"])
    assert service["ReadWritePaths"][0].startswith('"/srv/with space/100%%"')
    if role in ("api", "controller"):
        assert (service["User"], service["CapabilityBoundingSet"]) == (["ostro"], [""])
    else:
        assert "User" not in service and service["KillMode"] == ["process"], "guests outlive the agent"
        assert "PrivateTmp" not in service, "and find their files"
        assert "ProtectHostname" not in service, "libvirtd has one of its own"
        kept = " ".join(service["CapabilityBoundingSet"]).split()
        assert "CAP_NET_ADMIN" in kept and "CAP_SYS_MODULE" not in kept


@pytest.mark.parametrize("role", ROLES)
def test_how_exposed_it_is(role: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    path = tmp_path / f"ostro-{role}.service"
    path.write_text(make_unit(role, (sys.executable, "-m", "ostro"), "/var/lib/ostro"))
    command = [analyze, "security", "--offline=yes", f"--threshold={EXPOSURE[role]}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_they_are_written_below_a_prefix(tmp_path: Path) -> None:
    words = ["install", "--role", "api", "--role", "agent", "--prefix", str(tmp_path), "--state", "/srv/ostro"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    units = sorted(path.name for path in (tmp_path / "etc/systemd/system").iterdir())
    assert units == ["ostro-agent.service", "ostro-api.service"]
    assert "/srv/ostro" in (tmp_path / "usr/lib/sysusers.d/ostro.conf").read_text()
    verify = shutil.which("systemd-analyze")
    if verify is not None:
        paths = [str(tmp_path / "etc/systemd/system" / unit) for unit in units]
        done_ = subprocess.run([verify, "verify", *paths], capture_output=True, text=True, check=False)
        assert (done_.returncode, done_.stderr) == (0, "")


@pytest.mark.parametrize("role", ROLES)
def test_what_is_to_be_done_next(tmp_path: Path, role: str) -> None:
    """A host has no user of ours, so nothing can be given to it."""
    words = ["install", "--role", role, "--prefix", str(tmp_path), "--state", "/srv/o s"]
    done = CliRunner().invoke(main, words)
    steps = done.stderr.strip().removeprefix("Then: ").split("; ")
    assert steps[-2:] == ["systemctl daemon-reload", f"systemctl enable --now ostro-{role}"]
    mine = ["systemd-sysusers", "chown -R ostro: '/srv/o s'"]
    assert steps[:-2] == (mine if role in ("api", "controller") else [])
    assert (tmp_path / "usr/lib/sysusers.d/ostro.conf").exists() is bool(steps[:-2])
