"""Ten thousand hosts with a hundred thousand servers, made by the services themselves.

Every host registers by ``register_host`` and every server is created by ``create_servers``, with its claim, its wish and its saga; hosts report their servers
running by ``record_reports``, and the saga engine ends the creations. Only HTTP is left out, and many of these transactions share one
commit. So whatever the checkers hold of a cloud that grew slowly holds here, and `build` lets them look in the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import trio

from ostro.cli.state import StateDir
from ostro.model.context import Actor, Context
from ostro.model.ids import new_hex
from ostro.model.registration import Inventory, Registration
from ostro.model.wishes import Noun, Phase, Power, Report
from ostro.runtime.faults import NoFaults
from ostro.runtime.world import World
from ostro.saga.engine import Engine
from ostro.services.agents.hosts import register_host
from ostro.services.agents.joining import Speaker
from ostro.services.agents.reports import record_reports
from ostro.services.cloud import Cloud, CloudConfig, build_cloud
from ostro.services.compute.creation import ServerSpec, create_servers
from ostro.services.compute.quotas import update_class_quotas
from ostro.services.identity.bootstrap import Administrator, bootstrap
from ostro.services.identity.catalog import seed_catalog, seed_limits
from ostro.services.sagas import make_sagas
from ostro.store.database import Tx
from ostro.store.flavors import FLAVORS, Flavor
from ostro.store.migrate import migrate
from ostro.store.projects import PROJECTS, new_project
from ostro.store.sqlite import SqliteDatabase
from ostro.store.users import USERS
from ostro.store.wishes import list_wished
from ostro.testing.checkers.addresses import check_addresses
from ostro.testing.checkers.claims import check_claims
from ostro.testing.checkers.sagas import check_sagas
from ostro.testing.images import IMAGE_ID, put_image

HOSTS_AT_ONCE = 200
SERVERS_AT_ONCE = 100
FLAVOR = "scale"
PROJECTS_MADE = 100
Progress = Callable[[str], None]


def build(state: StateDir, hosts: int, servers: int, progress: Progress) -> dict[str, str]:
    """Fill the embedded database of an empty state directory; host ids by name."""
    return trio.run(_build, state, hosts, servers, progress)


async def _build(state: StateDir, hosts: int, servers: int, progress: Progress) -> dict[str, str]:
    world = World(random=random.Random(1))
    db = SqliteDatabase(world, str(state.database), durable=False)
    cloud = build_cloud(world, db, CloudConfig(state.root, state.agent_key, state.cloud_id))
    engine = Engine(world, db, make_sagas(cloud))
    async with trio.open_nursery() as nursery:
        await nursery.start(db.serve)
        await migrate(db)
        password_hash = await cloud.passwords.hash(state.admin_password)
        await db.run(bootstrap, world, Administrator(password_hash))
        await db.run(seed_catalog, cloud.config.region)
        await db.run(seed_limits, world)
        await db.run(put_image)
        await db.run(_add_flavor, world)
        contexts = await db.run(_add_projects, world, cloud)
        await db.run(update_class_quotas, contexts[0], "default", dict.fromkeys(("instances", "cores", "ram"), -1))
        ids: dict[str, str] = {}
        for first in range(0, hosts, HOSTS_AT_ONCE):
            numbers = range(first, min(hosts, first + HOSTS_AT_ONCE))
            ids |= await db.run(_register, contexts[0], cloud, numbers)
        progress(f"{hosts} hosts")
        for first in range(0, servers, SERVERS_AT_ONCE):
            await cloud.placement.fresh()
            context = contexts[first // SERVERS_AT_ONCE % PROJECTS_MADE]
            made = await db.run(_create, context, cloud, min(SERVERS_AT_ONCE, servers - first))
            await db.run(_report, context, made)
            while await engine.step():
                pass
            if first % 10_000 == 0:
                progress(f"{first} servers")
        for checker in (check_claims, check_addresses, check_sagas):
            complaints = await db.read(checker, world.now_us())
            assert complaints == [], complaints[:3]
        nursery.cancel_scope.cancel()
    db.close()
    return ids


def _add_flavor(tx: Tx, world: World) -> None:
    FLAVORS.insert(tx, Flavor(FLAVOR, FLAVOR, 64, 1, 1, 0, 0, 1.0, True, None, {}, world.now_us(), world.now_us()))


def _add_projects(tx: Tx, world: World, cloud: Cloud) -> list[Context]:
    """The administrator in each of some new projects."""
    user = USERS.find(tx, name="admin")
    assert user is not None, "bootstrapping made it"
    roles = frozenset(("admin", "manager", "member", "reader"))
    contexts = []
    for number in range(PROJECTS_MADE):
        project = new_project(new_hex(world.random), f"scale-{number}", "", now_us=world.now_us())
        PROJECTS.insert(tx, project)
        actor = Actor(user.id, "admin", "default", "Default", roles=roles, project_id=project.id)
        contexts.append(Context(actor, "req-build", world.now_us(), world.random, cloud.policies))
    return contexts


def _register(tx: Tx, context: Context, cloud: Cloud, numbers: range) -> dict[str, str]:
    ids = {}
    for number in numbers:
        name = host_name(number)
        inventory = Inventory(64, 256 * 1024, 10_000, "fake", 1, "{}")
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        registration = Registration(name, "1", address, inventory)
        ids[name] = _host(tx, context, cloud, registration)
    return ids


def _host(tx: Tx, context: Context, cloud: Cloud, registration: Registration) -> str:
    config = cloud.config
    return register_host(tx, context, cloud.placement, Speaker(), registration, config.cloud_id, config.fence_s).host_id


def host_name(number: int) -> str:
    """What the hosts are called."""
    return f"scale-{number:05}"


def _create(tx: Tx, context: Context, cloud: Cloud, count: int) -> list[tuple[str, str]]:
    """(server, host) of servers without a network."""
    spec = ServerSpec(name="scale", flavor_id=FLAVOR, image_id=IMAGE_ID, nics=(), max_count=count, min_count=count)
    made = create_servers(tx, context, cloud.placement, NoFaults(), spec)
    assert all(server.host_id for server in made), "there is room for all"
    return [(server.id, server.host_id) for server in made]


def _report(tx: Tx, context: Context, made: list[tuple[str, str]]) -> None:
    """Every host says that its new servers run."""
    for host_id in dict.fromkeys(host_id for _, host_id in made):
        reports = [
            Report(wish.noun, wish.id, wish.generation, Phase.READY, power=Power.ON)
            for wish in list_wished(tx, host_id, (Noun.SERVER, Noun.IMAGE))
        ]
        record_reports(tx, context, host_id, Speaker("1", 1), reports)


def database_bytes(state: Path) -> int:
    """Size of the embedded database."""
    return sum(path.stat().st_size for path in state.glob("ostro.db*"))
