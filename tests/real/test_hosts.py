"""Several hosts with libvirt and Open vSwitch of their own: tunnels, tenants apart, groups across hosts, and live migrations that are aborted, forced and left alone.

The steps are those of ``ostro demo-hosts --brief``, whose table says what held; it has a process of its own because it leaves this one's network.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 900.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="libvirt and Open vSwitch need root")


def test_three_hosts(tiny_image: Path) -> None:
    command = [sys.executable, "-m", "ostro", "demo-hosts", "--brief", "--images", str(tiny_image.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
