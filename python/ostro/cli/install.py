"""``ostro install``: systemd units for the parts of a cloud, with the least privilege that works.

API processes and controllers need the network and their state directory, and get nothing else. An agent makes links, and where the system runs no
libvirtd and Open vSwitch of its own it starts them, which start QEMU: so it is root, with the capabilities, devices, namespaces and directories that those
use, each with its reason in the unit. What it starts must outlive it: systemd ends its main process only, and nothing that it has is private to one start.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from ostro.cli.state import Usage
from ostro.cli.up import DEFAULT_STATE

USER = "ostro"
HEALTH = "127.0.0.1:8776"
COMMON = """\
Restart=always
RestartSec=1
TimeoutStopSec=60
LimitNOFILE=1048576
NoNewPrivileges=yes
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
CONTROL = f"""\
User={USER}
Group={USER}
CapabilityBoundingSet=
AmbientCapabilities=
ReadWritePaths={{state}}
PrivateDevices=yes
PrivateTmp=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
UMask=0077
"""
HOST = """\
# What it starts outlives it, and the next one finds it again.
KillMode=process
# Packets are switched in userspace where this module isn't; the agent itself can't load any.
ExecStartPre=-+/sbin/modprobe -q openvswitch
# Its state; sockets and pid files of what it starts; files that QEMU makes for a moment.
ReadWritePaths={state} /run /tmp /var/tmp
# Links, flows and traffic control; packets that are switched in userspace; the metadata service at port 80.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE
# Disks and sockets that belong to another user, as libvirt has it, and giving them away.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL
# libvirtd: a mount namespace of its own, QEMU's limits, processors and user, and fewer capabilities for it.
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SETGID CAP_SETPCAP CAP_SETUID
# Whether a pid file still names the program that it should: /proc tells it only of processes with no more capabilities.
CapabilityBoundingSet=CAP_SYS_PTRACE
# A libvirtd of its own has its directories and its host name there. So ProtectHostname can't be: it holds in every such namespace.
RestrictNamespaces=mnt uts
PrivateMounts=yes
# The control plane and Ceph; libvirtd and Open vSwitch; the kernel's links and flows; packets in userspace.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK AF_PACKET
# Guests run on one, their links are made by the others.
DevicePolicy=closed
DeviceAllow=/dev/kvm rw
DeviceAllow=/dev/net/tun rw
DeviceAllow=/dev/vhost-net rw
# Nothing that it starts needs these. Mounting, other priorities and other users it does need.
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
"""
"""Not here: MemoryDenyWriteExecute, because QEMU's TCG writes code; PrivateTmp and UMask, because guests that go on, and libvirt's own user, must reach the
same files as before; PrivateNetwork and PrivateUsers, because the host's network is what it is there for."""
UNIT = """\
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target{after}

[Service]
ExecStart={command}
{settings}
[Install]
WantedBy=multi-user.target
"""
SYSUSERS = f'u {USER} - "Ostro control plane" {{state}}\n'

Role = tuple[str, tuple[str, ...], str, str]
ROLES: dict[str, Role] = {
    "api": ("Ostro API", ("api",), "", CONTROL),
    "controller": ("Ostro controller", ("controller", "--listen", HEALTH), "", CONTROL),
    "agent": ("Ostro host agent", ("agent",), " libvirtd.service openvswitch-switch.service", HOST),
    "all-in-one": ("Ostro: a whole cloud", ("up",), " libvirtd.service openvswitch-switch.service", HOST),
}
"""Role -> description, command, what it starts after, and the settings of its own."""


def make_unit(role: str, program: tuple[str, ...], state: str) -> str:
    """The text of a role's unit."""
    description, words, after, own = ROLES[role]
    command = " ".join(_quoted(word) for word in (*program, *words, "--state", state))
    settings = COMMON + own.format(state=_quoted(state))
    return UNIT.format(description=description, after=after, command=command, settings=settings)


def _quoted(word: str) -> str:
    """A word as systemd reads it."""
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{escaped}"' if any(letter in escaped for letter in " \t'\"") else escaped


@click.command()
@click.option("--role", "roles", type=click.Choice(list(ROLES)), multiple=True, required=True)
@click.option("--prefix", default="/", show_default=True, help="Write below this directory.")
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="The state directory that the units use.")
def install(roles: tuple[str, ...], prefix: str, state: str) -> None:
    """Write systemd units for roles of this machine."""
    program = (sys.executable, "-m", "ostro")
    written = [Path(prefix) / f"etc/systemd/system/ostro-{role}.service" for role in roles]
    texts = [make_unit(role, program, os.path.abspath(state)) for role in roles]
    steps = ["systemctl daemon-reload", "systemctl enable --now " + " ".join(f"ostro-{role}" for role in roles)]
    if any(ROLES[role][3] is CONTROL for role in roles):
        # Only these have a user of their own.
        steps = ["systemd-sysusers", f"chown -R {USER}: {shlex.quote(os.path.abspath(state))}", *steps]
        written.append(Path(prefix) / "usr/lib/sysusers.d/ostro.conf")
        texts.append(SYSUSERS.format(state=os.path.abspath(state)))
    try:
        for path, text in zip(written, texts, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            click.echo(path)
    except OSError as error:
        raise Usage(f"Can't write below {prefix}: {error}. Run this as root, or with --prefix.") from error
    click.echo(f"Then: {'; '.join(steps)}", err=True)
