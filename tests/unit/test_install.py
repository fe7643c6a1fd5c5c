"""The systemd units: they parse, take privileges away, and what they start is a command of ours."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ostro.cli.install import ROLES, make_unit
from ostro.cli.main import main


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


@pytest.mark.parametrize("role", ROLES)
def test_a_unit(role: str) -> None:
    unit = read(make_unit(role, (sys.executable, "-m", "ostro"), "/srv/with space/100%"))
    service = unit["Service"]
    words = shlex.split(service["ExecStart"])
    assert words[0] == sys.executable and words[-1] == "/srv/with space/100%%"
    done = subprocess.run([*words[:4], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--state" in done.stdout
    if role in ("api", "controller"):
        assert (service["User"], service["CapabilityBoundingSet"], service["ProtectSystem"]) == ("ostro", "", "strict")
        assert service["ReadWritePaths"] == '"/srv/with space/100%%"'
    else:
        assert "User" not in service and service["KillMode"] == "process", "guests outlive the agent"
        assert (
            "CAP_NET_ADMIN" in service["CapabilityBoundingSet"]
            and "CAP_SYS_MODULE" not in service["CapabilityBoundingSet"]
        )


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
