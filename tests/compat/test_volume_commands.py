"""Every volume command of the ``openstack`` client, unpatched: what works is run, what is absent says so without an error of the server's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import entry_points

import pytest
import yaml

from ostro.testing.openstack import Shell, lines_of
from ostro.testing.up import Up

SCRIPTS = {
    "volumes": """
        ? hypervisor list -> up
        volume create --size 1 --description d --property a=b cmd-v
        ? volume show cmd-v -> available
        volume list --long -> cmd-v
        volume set --name cmd-v2 --description new --property c=d --image-property os=linux --bootable cmd-v
        volume show cmd-v2 -> "linux"
        volume unset --property a --image-property os cmd-v2
        volume set --non-bootable cmd-v2
        volume set --size 2 cmd-v2
        ? volume show cmd-v2 -> available
        volume set --state error cmd-v2
        volume show cmd-v2 -> error
        volume set --state available cmd-v2
        volume create --source cmd-v2 --size 3 cmd-copy
        ? volume show cmd-copy -> available
        --os-volume-api-version 3.12 volume summary
        volume delete cmd-copy
        volume delete --force cmd-v2
        ? volume list -> []
    """,
    "images of volumes": """
        volume create --size 1 cmd-source
        ? volume show cmd-source -> available
        image create --volume cmd-source --disk-format raw cmd-image
        ? image show cmd-image -> active
        --os-volume-api-version 3.1 image create --volume cmd-source --private --protected cmd-image2
        ? image show cmd-image2 -> active
        image set --unprotected cmd-image2
        ? volume show cmd-source -> available
        volume create --image cmd-image --size 1 cmd-made
        ? volume show cmd-made -> available
        image delete cmd-image cmd-image2
        volume delete cmd-source cmd-made
        ? volume list -> []
    """,
    "snapshots": """
        volume create --size 1 cmd-v
        ? volume show cmd-v -> available
        volume snapshot create --volume cmd-v --property a=b cmd-s
        ? volume snapshot show cmd-s -> available
        volume snapshot list --long -> cmd-s
        volume snapshot set --name cmd-s2 --description d --property c=d cmd-s
        volume snapshot unset --property a cmd-s2
        volume create --snapshot cmd-s2 --size 1 cmd-past
        ? volume show cmd-past -> available
        --os-volume-api-version 3.40 volume revert cmd-s2
        ? volume show cmd-v -> available
        volume snapshot delete cmd-s2
        ? volume snapshot list -> []
        volume delete cmd-v cmd-past
        ? volume list -> []
    """,
    "transfers": """
        volume create --size 1 cmd-gift
        ? volume show cmd-gift -> available
        gift: volume transfer request create --name cmd-offer cmd-gift
        volume show cmd-gift -> awaiting-transfer
        volume transfer request list -> cmd-offer
        volume transfer request show cmd-offer -> cmd-offer
        volume transfer request delete {gift[id]}
        gift: --os-volume-api-version 3.55 volume transfer request create --no-snapshots --name cmd-offer cmd-gift
        ! volume transfer request accept --auth-key wrong {gift[id]} -> auth key
        volume transfer request accept --auth-key {gift[auth_key]} {gift[id]}
        volume show cmd-gift -> available
        volume delete cmd-gift
    """,
    "types and qualities of service": """
        volume type create --property a=b --description d cmd-type
        volume type list --long -> cmd-type
        volume type set --name cmd-type2 --property c=d cmd-type
        volume type unset --property a cmd-type2
        volume type show cmd-type2 -> cmd-type2
        volume qos create --consumer back-end --property total_iops_sec=100 cmd-qos
        volume qos list -> cmd-qos
        volume qos set --property total_bytes_sec=1000000 cmd-qos
        volume qos unset --property total_bytes_sec cmd-qos
        volume qos associate cmd-qos cmd-type2
        volume qos show cmd-qos -> cmd-type2
        volume qos disassociate --volume-type cmd-type2 cmd-qos
        volume qos delete cmd-qos
        volume create --size 1 --type cmd-type2 cmd-typed
        ? volume show cmd-typed -> available
        volume set --type local --retype-policy on-demand cmd-typed
        volume delete cmd-typed
        ? volume list -> []
        volume type delete cmd-type2
    """,
    "attachments": """
        volume create --size 1 cmd-plugged
        ? volume show cmd-plugged -> available
        --os-volume-api-version 3.27 volume attachment list -> []
        volume delete cmd-plugged
    """,
    "the service": """
        volume service list -> cinder-volume
        volume backup list -> []
        volume backend pool list -> local
        --os-volume-api-version 3.33 block storage resource filter list -> volume
        --os-volume-api-version 3.33 block storage resource filter show volume -> name
        --os-volume-api-version 3.11 volume group type list -> []
    """,
}
ABSENT = """
    block storage cleanup
    block storage cluster list
    block storage cluster set
    block storage cluster show
    block storage log level list
    block storage log level set
    block storage snapshot manageable list
    block storage volume manageable list
    consistency group
    volume attachment complete
    volume attachment create
    volume attachment delete
    volume attachment set
    volume attachment show
    volume backend capability show
    volume backup
    volume group
    volume host failover
    volume host set
    volume message
    volume migrate
    volume service set
"""
"""Commands, or how they begin, that are not run here: there are no backups, groups, clusters, messages, or moves by hand; attachments are
Compute's to make."""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, up: Up) -> Iterator[Shell]:
    """The client as the administrator."""
    clouds = yaml.safe_load((up.state / "clouds.yaml").read_text())["clouds"]
    with closing(Shell(tmp_path_factory.mktemp("commands"), {"ostro": clouds["ostro"]})) as shell:
        yield shell


@pytest.mark.parametrize("topic", SCRIPTS)
def test_the_commands(topic: str, shell: Shell) -> None:
    for line in lines_of(SCRIPTS[topic]):
        shell.run(line)


def test_what_is_absent_says_so(shell: Shell) -> None:
    """Refused as something that there isn't, never as an error of ours."""
    for line in (
        "! volume backup create cmd-none",
        "! --os-volume-api-version 3.13 volume group create --volume-group-type x --volume-type local",
        "! --os-volume-api-version 3.3 volume message list",
        "! consistency group list",
        "! volume migrate --host x cmd-none",
    ):
        shell.run(line)


def test_no_command_is_left_out() -> None:
    every = {entry.name.replace("_", " ") for entry in entry_points(group="openstack.volume.v3")}
    run: set[str] = set()
    for line in (line for script in SCRIPTS.values() for line in lines_of(script)):
        words = [word for word in line.lstrip("!? ").split() if not word.endswith(":")]
        if words[0] == "--os-volume-api-version":
            words = words[2:]
        run |= {" ".join(words[:count]) for count in range(2, 6)}
    absent = tuple(line.strip() for line in ABSENT.strip().splitlines())
    assert {command for command in every - run if not command.startswith(absent)} == set()
