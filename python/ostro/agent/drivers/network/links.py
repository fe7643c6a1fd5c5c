"""Link devices of this host: taps for guests, and the address on the metadata port. Blocking; run in a worker thread.

One netlink socket serves one call, so nothing is shared between threads; opening it takes a millisecond and making a tap
takes ten, most of it the kernel's.
"""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec
from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from ostro.model.errors import Unavailable

IFF_UP = 1
NAME_MOST_BYTES = 15
CHECKSUMS_AND_SEGMENTATION = ("tx-checksum-ip-generic", "tx-generic-segmentation", "tx-tcp-segmentation")


class Link(msgspec.Struct, frozen=True):
    """A link device: its kernel index, MTU in bytes, and whether it is up."""

    index: int
    mtu: int
    up: bool


def find_link(ipr: IPRoute, name: str) -> Link | None:
    """The device of this name, if there is one."""
    try:
        answers = ipr.link("get", ifname=name)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    answer = answers[0]
    return Link(answer["index"], answer.get("mtu") or 0, bool(answer["flags"] & IFF_UP))


def ensure_tap(name: str, mtu: int) -> bool:
    """Make sure that the tap is there, has this MTU and is up. Returns whether it had to be made.

    A device of that name that is there already is used, whatever made it.

    Raises:
        Unavailable: the kernel refuses.
    """
    try:
        with IPRoute() as ipr:
            link = find_link(ipr, name)
            if link is not None and link.up and link.mtu == mtu:
                return False
            made = link is None
            if link is None:
                ipr.link("add", ifname=name, kind="tuntap", mode="tap")
                link = find_link(ipr, name)
            if link is None:
                raise Unavailable(f"The tap {name} vanished while it was being made.")
            ipr.link("set", index=link.index, mtu=mtu, state="up")
            return made
    except NetlinkError as error:
        raise Unavailable(f"The kernel refuses the tap {name}.", detail=str(error)) from error


def delete_link(name: str) -> None:
    """Make sure that no device of this name is there.

    Raises:
        Unavailable: the kernel refuses.
    """
    try:
        with IPRoute() as ipr:
            link = find_link(ipr, name)
            if link is not None:
                ipr.link("del", index=link.index)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise Unavailable(f"The kernel refuses to delete {name}.", detail=str(error)) from error


def free_range(candidates: list[IPv4Network], own: str) -> IPv4Network | None:
    """The first range that no other device than ``own`` routes any part of; one that ``own`` has comes before all."""
    with IPRoute() as ipr:
        owner = find_link(ipr, own)
        taken: list[tuple[IPv4Network, int]] = []
        for route in ipr.get_routes(family=2):
            if route.get("dst"):
                taken.append((IPv4Network(f"{route.get('dst')}/{route['dst_len']}"), route.get("oif") or 0))
    mine = [net for net, index in taken if owner is not None and index == owner.index]
    foreign = [net for net, index in taken if owner is None or index != owner.index]
    ordered = [net for net in candidates if net in mine] + [net for net in candidates if net not in mine]
    # The address itself appears as a local route on the same device, so only other devices count.
    return next((net for net in ordered if not any(net.overlaps(other) for other in foreign)), None)


def address_of(network: IPv4Network) -> IPv4Address:
    """The address that the metadata server gets in a range of aliases: the last but one, which no port's alias can be."""
    return network.broadcast_address - 1


def ensure_address(name: str, address: IPv4Interface, mtu: int) -> None:
    """Make sure that the device is up with this address and sends checksums.

    Raises:
        Unavailable: the device isn't there, or the kernel refuses.
    """
    try:
        with IPRoute() as ipr:
            link = find_link(ipr, name)
            if link is None:
                raise Unavailable(f"The device {name} is not there.")
            present = {(item.get("address"), item["prefixlen"]) for item in ipr.get_addr(index=link.index, family=2)}
            if (str(address.ip), address.network.prefixlen) not in present:
                ipr.addr("add", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen)
            if not link.up or link.mtu != mtu:
                ipr.link("set", index=link.index, mtu=mtu, state="up")
        _leave_nothing_to_hardware(name)
    except (NetlinkError, EthtoolError, OSError) as error:
        # A switch that is being restarted takes the device away and makes it anew.
        raise Unavailable(f"The kernel refuses the address {address} on {name}.", detail=str(error)) from error


def _leave_nothing_to_hardware(name: str) -> None:
    """Have the kernel compute checksums itself: the userspace datapath passes packets on as they are."""
    ethtool = IoctlEthtool(name)
    try:
        features = ethtool.get_features()
        active = [feature for feature in CHECKSUMS_AND_SEGMENTATION if features.is_active(feature)]
        for feature in active:
            features[feature] = False
        if active:
            ethtool.set_features(features)
    finally:
        ethtool.close()
