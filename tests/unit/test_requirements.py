"""The lock has every package that pyproject.toml names, at a version that it allows; and pyproject.toml names all that the program imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = [*PROJECT["dependencies"], *(item for extra in PROJECT["optional-dependencies"].values() for item in extra)]
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / ".ci" / "requirements.txt").read_text(), re.M))

BROUGHT = {"outcome": "trio", "rados": "Debian's package", "rbd": "Debian's package", "werkzeug": "quart"}
"""What else the program imports, and what brings it."""


def imported() -> Iterator[str]:
    """The top of every module that the program imports, apart from what only tests use."""
    package = ROOT / "python" / "ostro"
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                yield node.module.partition(".")[0]


def test_what_is_imported_is_named() -> None:
    """Elsewhere it isn't there, though a lock that was written by hand may have it."""
    named = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    brings = packages_distributions()
    unnamed = {
        module
        for module in set(imported()) - sys.stdlib_module_names - {"ostro"} - set(BROUGHT)
        if not named & {canonicalize_name(name) for name in brings.get(module, ())}
    }
    assert not unnamed


@pytest.mark.parametrize("line", WANTED)
def test_a_named_package_is_locked(line: str) -> None:
    requirement = Requirement(line)
    locked = {canonicalize_name(name): version for name, version in LOCKED.items()}
    version = locked.get(canonicalize_name(requirement.name))
    assert version is not None, "run `make lock`"
    assert requirement.specifier.contains(version), "run `make lock`"


def test_nothing_is_locked_without_a_version() -> None:
    lines = [line for line in (ROOT / ".ci" / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(LOCKED)
