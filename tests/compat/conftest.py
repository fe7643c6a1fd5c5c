"""A served cloud for the standard clients: ``ostro up`` with the fake hypervisor, one a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ostro.testing.openstack import OpenStack
from ostro.testing.up import Up


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running cloud."""
    with Up(tmp_path_factory.mktemp("compat")) as running:
        running.start()
        yield running


@pytest.fixture(scope="session")
def openstack(up: Up) -> OpenStack:
    """The ``openstack`` command as the administrator."""
    return OpenStack(up.state / "clouds.yaml")
