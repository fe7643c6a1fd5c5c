"""What a token costs inside the serving process: ``python -m bench.identity [--count N]``.

One process, no sockets; microseconds of this process's CPU a validation, so that neighbours don't count:

- ``validate.again``: a token that was seen within the last second, as of a client that sends one request after another.
- ``validate.first``: one not seen before: opened, and its user, project, roles and revocations read from the store.

The floor of both is opening a Fernet token of that length with ``cryptography`` and nothing else, which is the least that Keystone's format asks for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import trio
from cryptography.fernet import Fernet

from bench.micro.figure import Figure
from ostro.testing.cloud import TestCloud, open_cloud

BUDGET_US = 30.0
ROUNDS = 5
TOKENS = 500


async def issue(cloud: TestCloud) -> list[str]:
    """Tokens of one user, each another one, none seen yet."""
    shown = await cloud.as_admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": cloud.as_admin.token})
    project_id = shown.json["token"]["project"]["id"]
    asked = {
        "identity": {"methods": ["token"], "token": {"id": cloud.as_admin.token}},
        "scope": {"project": {"id": project_id}},
    }
    issued = [await cloud.as_admin.post("/identity/v3/auth/tokens", {"auth": asked}) for _ in range(TOKENS)]
    return [answer.headers["X-Subject-Token"] for answer in issued]


async def cpu_us(work: Callable[[], Awaitable[int]]) -> float:
    """Microseconds of CPU for each of what ``work`` says that it did."""
    started_s = time.process_time()
    done = await work()
    return (time.process_time() - started_s) * 1e6 / done


async def figures(count: int) -> list[Figure]:
    """Both, and the floor in turn with them."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_cloud(Path(folder)) as cloud:
            validate = cloud.cloud.tokens.validate
            fernet = Fernet(Fernet.generate_key())
            sample: str = cloud.as_admin.token
            sealed = fernet.encrypt(bytes(len(sample) * 3 // 4 - 57)).decode()

            async def again() -> int:
                for _ in range(count):
                    await validate(sample)
                return count

            async def opened() -> int:
                for _ in range(TOKENS):
                    fernet.decrypt(sealed)
                return TOKENS

            rounds: list[tuple[float, float, float]] = []
            for _ in range(ROUNDS):
                tokens = await issue(cloud)

                async def first(tokens: list[str] = tokens) -> int:
                    for token in tokens:
                        await validate(token)
                    return len(tokens)

                rounds.append((await cpu_us(again), await cpu_us(first), await cpu_us(opened)))
    again_us, first_us, opened_us = (min(found[at] for found in rounds) for at in range(3))
    return [
        Figure("validate.again", again_us, "us", opened_us, BUDGET_US),
        Figure("validate.first", first_us, "us", opened_us),
    ]


def main() -> None:
    """Measure and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="validations of a token that is known")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for figure in trio.run(figures, options.count):
        print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
