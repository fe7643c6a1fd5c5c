"""The lock has every package that pyproject.toml names, at a version that it allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = [*PROJECT["dependencies"], *(item for extra in PROJECT["optional-dependencies"].values() for item in extra)]
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / ".ci" / "requirements.txt").read_text(), re.M))


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
