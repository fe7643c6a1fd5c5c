"""What tests of real components share: a private libvirtd and the tiny guest's image, made once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ostro.guest import build_image
from ostro.testing.libvirt import TestLibvirtd, serve_libvirtd
from ostro.testing.namespaces import OwnNetwork
from ostro.testing.openvswitch import TestOpenVSwitch, serve_openvswitch

OWN_NETWORK = OwnNetwork()

CACHE = Path(__file__).parents[2] / ".cache" / "guest"


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[TestLibvirtd]:
    """A private libvirtd."""
    with serve_libvirtd() as running:
        yield running


@pytest.fixture(scope="module")
def openvswitch() -> Iterator[TestOpenVSwitch]:
    """An Open vSwitch. Gone after each module: there is room for one in a network namespace, and some tests start their own."""
    with serve_openvswitch() as running:
        yield running


@pytest.fixture(scope="session")
def tiny_image() -> Path:
    """The tiny guest's image (qcow2), built the first time on this machine."""
    with OWN_NETWORK.left():
        return build_image("tiny", CACHE / "tiny.qcow2", CACHE)
