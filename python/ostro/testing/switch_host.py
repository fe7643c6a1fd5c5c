"""A host's network in a process of its own, driven by lines of JSON: for tests with several hosts on one machine.

To be run in a network namespace that has one link device, the underlay: ``ip netns exec NAME python -m ostro.testing.switch_host
TUNNEL_IP/LENGTH DEVICE``. It starts an Open vSwitch, puts the underlay on a bridge (where the userspace datapath looks for tunnels' ways), opens
the driver and says ``{}``. Each line in is a list: a method of the driver and its arguments; each line out is what it returned,
or ``{"error": ...}``. It ends, and takes all of it away, when its input does.
"""

from __future__ import annotations

import sys
from ipaddress import IPv4Interface

import msgspec
import trio

from ostro.agent.drivers.network import Network
from ostro.model.errors import OstroError
from ostro.model.wishes import Noun
from ostro.runtime.log import configure_logging
from ostro.testing.openvswitch import TestOpenVSwitch, serve_openvswitch
from ostro.testing.underlay import lay


async def carry_out(network: Network, words: list[str]) -> object:
    """Call one method of the driver; what it returns."""
    match words:
        case ["put", noun, id_, body]:
            network.put(Noun(noun), id_, body.encode())
        case ["drop", noun, id_]:
            network.drop(Noun(noun), id_)
        case ["plug", port_id]:
            await network.plug(port_id)
        case ["unplug", port_id]:
            await network.unplug(port_id)
        case ["sync"]:
            return await network.sync()
        case ["audit"]:
            return await network.audit()
        case _:
            raise AssertionError(f"not a call of the driver: {words}")
    return None


async def serve(switch: TestOpenVSwitch) -> None:
    """Carry out what comes in, line by line, until nothing more does."""

    async def say(what: object) -> None:
        await out.send_all(msgspec.json.encode(what) + b"\n")

    out = trio.lowlevel.FdStream(1)
    async with switch.open() as network, trio.lowlevel.FdStream(0) as lines:
        await say({})
        buffer = b""
        async for data in lines:
            *whole, buffer = (buffer + data).split(b"\n")
            for line in whole:
                try:
                    await say(await carry_out(network, msgspec.json.decode(line, type=list[str])))
                except OstroError as error:
                    await say({"error": f"{error.message} {error.detail}"})


def main() -> None:
    """See the module."""
    configure_logging("warning")
    address, device = sys.argv[1:]
    tunnel = IPv4Interface(address)
    with serve_openvswitch(tunnel_ip=str(tunnel.ip)) as switch:
        lay(switch.config.db_socket, tunnel, device)
        trio.run(serve, switch)


if __name__ == "__main__":
    main()
