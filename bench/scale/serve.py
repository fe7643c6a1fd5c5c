"""One api process of several on one PostgreSQL: ``python -m bench.scale.serve STATE DATABASE``; prints its address once it answers."""

from __future__ import annotations

import signal
import sys

import trio

from ostro.cli.control import ControlConfig, endpoint_of, listen, run_control
from ostro.cli.state import StateDir
from ostro.runtime.log import configure_logging
from ostro.runtime.world import World


async def serve(state: str, database: str) -> None:
    """Until SIGTERM."""
    listener = listen("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        await nursery.start(run_control, World(), ControlConfig(StateDir.make(state), database), listener)
        print(endpoint_of(listener), flush=True)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


configure_logging("error")
trio.run(serve, *sys.argv[1:3])
