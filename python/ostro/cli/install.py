"""``ostro install``: systemd units for the parts of a cloud, with the least privilege that works.

API processes and controllers need the network and their state directory, and get nothing else. An agent starts libvirtd, QEMU and Open vSwitch and
makes links, so it is root; it keeps the capabilities that those use. What it starts must outlive it: systemd ends its main process only.
"""

from __future__ import annotations

import os
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
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
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
ProtectSystem=strict
ReadWritePaths={{state}}
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
UMask=0077
"""
HOST_CAPABILITIES = (
    "CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_IPC_LOCK CAP_KILL CAP_MKNOD"
    " CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID"
    " CAP_SYS_ADMIN CAP_SYS_CHROOT CAP_SYS_NICE CAP_SYS_PTRACE CAP_SYS_RESOURCE"
)
HOST = f"""\
KillMode=process
CapabilityBoundingSet={HOST_CAPABILITIES}
"""
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
    if own is HOST:
        # QEMU and Open vSwitch, which it starts, need more than these let them.
        settings = settings.replace("PrivateTmp=yes\n", "").replace("NoNewPrivileges=yes\n", "")
        settings = settings.replace("RestrictSUIDSGID=yes\n", "").replace("RestrictRealtime=yes\n", "")
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
    if any(ROLES[role][3] is CONTROL for role in roles):
        written.append(Path(prefix) / "usr/lib/sysusers.d/ostro.conf")
        texts.append(SYSUSERS.format(state=os.path.abspath(state)))
    try:
        for path, text in zip(written, texts, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            click.echo(path)
    except OSError as error:
        raise Usage(f"Can't write below {prefix}: {error}. Run this as root, or with --prefix.") from error
    names = " ".join(f"ostro-{role}" for role in roles)
    click.echo(
        f"Then: systemd-sysusers; chown -R {USER}: {state}; systemctl daemon-reload; systemctl enable --now {names}",
        err=True,
    )
