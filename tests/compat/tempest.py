"""Runs OpenStack's own tests against a fresh cloud: ``make compat SUITE=identity``.

The ids of a suite are in ``suites/<name>.txt``, and those that may fail, each with its reason, in ``exceptions.txt``. Tempest and its plugins, pinned here,
are installed into ``.venv-compat``; the cloud is ``ostro up --hypervisor fake`` in a directory of its own and goes away at the end. A test that
is skipped or missing has not passed.
"""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import yaml

from ostro.testing.up import Up

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VENV = ROOT / ".venv-compat"
PACKAGES = ("tempest==47.0.0", "keystone-tempest-plugin==0.22.0")
WORKERS = 2
RESULT = re.compile(r"^\{\d+\} (\S+?)(?:\[\S*\])? \[[^\]]*\] \.\.\. (ok|FAILED|SKIPPED)")
SKIPPED = re.compile(r"^\{\d+\} (\S+?)(?:\[\S*\])? \.\.\. SKIPPED")

CONFIG = """\
[DEFAULT]
log_file = tempest.log
[oslo_concurrency]
lock_path = {folder}/lock
[auth]
use_dynamic_credentials = True
admin_username = {username}
admin_password = {password}
admin_project_name = {project_name}
admin_domain_name = Default
admin_user_domain_name = Default
admin_project_domain_name = Default
admin_system = all
create_isolated_networks = False
default_credentials_domain_name = Default
tempest_roles = member
[identity]
uri_v3 = {auth_url}
auth_version = v3
region = RegionOne
v3_endpoint_type = public
default_domain_id = default
admin_role = admin
[identity-feature-enabled]
api_v2 = False
api_v2_admin = False
api_v3 = True
access_rules = True
domain_specific_drivers = True
enforce_scope = True
external_idp = False
federation = False
immutable_user_source = False
security_compliance = True
trust = True
[enforce_scope]
keystone = True
[service_available]
cinder = True
glance = True
neutron = True
nova = True
swift = True
horizon = False
"""


def install() -> None:
    """Tempest and its plugins, in an environment of their own."""
    if (VENV / "bin" / "tempest").exists():
        return
    venv.create(VENV, with_pip=True)
    subprocess.run([str(VENV / "bin" / "pip"), "install", "-q", *PACKAGES], check=True)


def read_exceptions() -> dict[str, str]:
    """Test id -> why it may fail."""
    lines = (HERE / "exceptions.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def run(suite: Path, up: Up, folder: Path) -> dict[str, str]:
    """Run the suite; test id -> how it ended."""
    auth = yaml.safe_load((up.state / "clouds.yaml").read_text())["clouds"]["ostro"]["auth"]
    workspace = folder / "workspace"
    tempest = [str(VENV / "bin" / "tempest")]
    path = {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}", "OS_TEST_TIMEOUT": "300"}
    environment = {**os.environ, **path}
    init = [*tempest, "init", "--workspace-path", str(folder / "workspaces.yaml"), str(workspace)]
    subprocess.run(init, check=True, capture_output=True, env=environment)
    (workspace / "etc" / "tempest.conf").write_text(CONFIG.format(folder=folder, **auth))
    command = [*tempest, "run", "--load-list", str(suite), "--concurrency", str(WORKERS)]
    ended: dict[str, str] = {}
    with subprocess.Popen(command, cwd=workspace, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "it is piped"
        for line in process.stdout:
            sys.stdout.write(line)
            if found := RESULT.match(line):
                ended[found[1]] = found[2]
            elif found := SKIPPED.match(line):
                ended[found[1]] = "SKIPPED"
    return ended


def judge(wanted: list[str], ended: dict[str, str], exceptions: dict[str, str]) -> int:
    """Say what passed; the exit status."""
    counts = collections.Counter(ended.get(name, "ABSENT") for name in wanted)
    bad = [name for name in wanted if ended.get(name) != "ok" and name not in exceptions]
    mended = [name for name in wanted if ended.get(name) == "ok" and name in exceptions]
    sys.stdout.write(f"\n{len(wanted)} tests: {dict(counts)}\n")
    for name in bad:
        sys.stdout.write(f"{ended.get(name, 'ABSENT'):8} {name}\n")
    for name in mended:
        sys.stdout.write(f"passes, take it out of exceptions.txt: {name}\n")
    return 1 if bad or mended else 0


def main(name: str) -> int:
    """Run one suite against a fresh cloud."""
    suite = HERE / "suites" / f"{name}.txt"
    if not suite.exists():
        known = ", ".join(sorted(path.stem for path in suite.parent.glob("*.txt")))
        sys.stderr.write(f"There is no suite {name!r}; there are: {known}\n")
        return 2
    install()
    with tempfile.TemporaryDirectory(prefix="ostro-compat-") as folder, Up(Path(folder) / "state") as up:
        up.start()
        ended = run(suite, up, Path(folder))
    wanted = [line.partition("[")[0] for line in suite.read_text().split()]
    return judge(wanted, ended, read_exceptions())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
