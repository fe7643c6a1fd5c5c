"""The floor: the smallest ASGI application on Hypercorn's trio worker. ``python -m bench.api.floor PORT``"""

from __future__ import annotations

import sys
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

BODY = b'{"hello": "world"}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer everything with the same few bytes."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Serve until ended."""
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    trio.run(serve, app, config)


if __name__ == "__main__":
    main()
