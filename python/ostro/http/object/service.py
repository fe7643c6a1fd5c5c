"""Object storage's service: who may do what is decided by account and access list, so its routes are open to all."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from ostro.http.faults import swift_shape
from ostro.http.request import Request
from ostro.http.route import Service
from ostro.model.context import Context
from ostro.model.errors import Forbidden, Unauthenticated
from ostro.model.ids import new_uuid
from ostro.runtime.world import World
from ostro.services.object.acls import Access, Visitor, is_allowed, is_owner
from ostro.services.object.containers import find_container
from ostro.services.object.errors import FailedPrecondition
from ostro.services.object.objects import Place
from ostro.store.database import Tx
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS


def check_path(req: Request) -> None:
    """Names are UTF-8 without NUL: the server would have put replacements for anything else."""
    raw = req.raw.raw_path
    if b"%" not in raw:
        return
    path = unquote_to_bytes(raw)
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise FailedPrecondition("Invalid UTF8 or contains NULL")


def new_trans_id(world: World) -> str:
    """A transaction's id in Swift's form: 21 random digits and the time."""
    return f"tx{new_uuid(world.random).replace('-', '')[:21]}-{world.now_us() // 1_000_000:010x}"


OBJECT = Service(
    "object",
    ("/object-store",),
    swift_shape,
    title="Object Storage API v1",
    check=check_path,
    new_request_id=new_trans_id,
    id_headers=("X-Trans-Id", "X-Openstack-Request-Id"),
)


async def admit(req: Request, access: Access) -> str:
    """The account's project, if whoever asks may do this to what the URL names. Raises Unauthenticated, Forbidden."""
    project_id, container = req.params["account"], req.params.get("container")
    await _admit(req, access, project_id, None if container is None else container.encode())
    return project_id


async def admit_to(req: Request, access: Access, place: Place) -> None:
    """The same for what a header names."""
    await _admit(req, access, place.project_id, place.container)


async def admit_to_containers(req: Request, access: Access, places: Iterable[Place]) -> None:
    """The same for all of these; each container is asked once."""
    for place in {(place.project_id, place.container): place for place in places}.values():
        await admit_to(req, access, place)


async def _admit(req: Request, access: Access, project_id: str, container: bytes | None) -> None:
    if is_owner(req.context.actor, project_id, access):
        return
    referer = req.headers.get("Referer", "")
    if container is not None and await req.read(_is_let_in, access, project_id, container, referer):
        return
    if not req.context.user_id:
        raise Unauthenticated("")
    raise Forbidden("")


def _is_let_in(tx: Tx, context: Context, access: Access, project_id: str, name: bytes, referer: str) -> bool:
    container = find_container(tx, context, project_id, name)
    if container is None:
        return False
    account = PROJECTS.find(tx, id=project_id)
    by_name = account is not None and account.domain_id == DEFAULT_DOMAIN_ID
    return is_allowed(Visitor(context.actor, referer, by_name), access, container.read_acl, container.write_acl)
