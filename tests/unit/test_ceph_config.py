"""Which Ceph and where in it, and the commands an administrator is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.cli.settings import read_ceph
from ostro.cli.state import StateDir, Usage
from ostro.model.errors import Invalid
from ostro.runtime.ceph.config import CephConfig, Pools, auth_command, capabilities, pool_commands


def test_pools_that_are_not_named_keep_their_defaults() -> None:
    assert Pools.parse("") == Pools()
    pools = Pools.parse("volumes=fast,objects=big")
    assert pools == Pools(images="ostro-images", volumes="fast", objects="big")
    assert Pools.parse(str(pools)) == pools


@pytest.mark.parametrize("text", ["fast", "disks=fast", "volumes=", "volumes=a,,x"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not a pool"):
        Pools.parse(text)


def test_the_least_privilege() -> None:
    assert capabilities(Pools("i", "v", "o")) == {
        "mon": "profile rbd",
        "osd": "profile rbd pool=i, profile rbd pool=v, allow rw pool=o",
        "mgr": "profile rbd",
    }
    assert auth_command(CephConfig(Path("/etc/ceph/ceph.conf"), "ostro", Pools("v", "v", "o"))) == (
        "ceph auth get-or-create client.ostro mon 'profile rbd' osd 'profile rbd pool=v, allow rw pool=o'"
        " mgr 'profile rbd' -o /etc/ceph/ceph.client.ostro.keyring"
    )


def test_pools_are_marked_for_what_they_hold() -> None:
    assert pool_commands(["v", "o"], "o") == [
        "ceph osd pool create v",
        "ceph osd pool application enable v rbd",
        "ceph osd pool create o",
        "ceph osd pool application enable o ostro",
    ]


def test_the_settings_need_not_say_more_than_which_ceph(tmp_path: Path) -> None:
    state, conf = StateDir(tmp_path), tmp_path / "lab.conf"
    assert read_ceph(state) is None
    (tmp_path / "ostro.toml").write_text(f'ceph_conf = "{conf}"\nceph_user = "lab"\nceph_pools = "objects=big"\n')
    with pytest.raises(Usage, match="is not there"):
        read_ceph(state)
    conf.touch()
    assert read_ceph(state) == CephConfig(conf, "lab", Pools(objects="big"))
    (tmp_path / "ostro.toml").write_text(f'ceph_config = "{conf}"\n')
    with pytest.raises(Usage, match="ceph_config"):
        read_ceph(state)


def test_the_choice_is_remembered(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert state.ceph is None
    chosen = CephConfig(Path("/etc/ceph/lab.conf"), "lab", Pools(objects="big"))
    state.keep_ceph(chosen)
    assert StateDir(tmp_path).ceph == chosen
