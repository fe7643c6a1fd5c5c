"""Creating servers: everything that a server needs is claimed, bound and wished in one transaction.

``create_servers`` validates, claims a host by Placement, gives the server its NICs and volumes there, holds its image, wishes it of the host and
starts the saga that waits until it runs. Whatever goes wrong before the end leaves nothing. When no host has room the server
is made nevertheless, in ERROR, with the reasons as its fault.

Fault points: ``server.create.claimed``, ``server.create.bound`` and ``server.create.stored`` inside the transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Forbidden, Invalid, NoCapacity, NotFound
from ostro.model.images import ImageStatus
from ostro.model.numbers import whole_number
from ostro.model.quotas import DISK_GB, MEMORY_MB, VCPU
from ostro.model.servers import DEFAULT_ZONE, PowerState, TaskState, VmState
from ostro.model.volumes import storage_trait
from ostro.model.wishes import KeyWish, Power
from ostro.runtime.faults import Faults
from ostro.saga.engine import start_saga
from ostro.services.block.attachments import is_shared
from ostro.services.compute.flavors import foresee_flavor, get_flavor
from ostro.services.compute.instance_actions import finish, record_action
from ostro.services.compute.quotas import check_items, check_members, check_servers, foresee_servers_quota
from ostro.services.compute.server_groups import group_requests
from ostro.services.compute.servers import add_new_wish
from ostro.services.compute.volumes import VolumeSource, check_sources, needs_of, plug_at_start
from ostro.services.image.holds import foresee_hold, hold_found_image
from ostro.services.image.images import find_visible_image, foresee_image
from ostro.services.network.binding import RequestedNic, allocate_nics, resolve_auto_network, resolve_groups
from ostro.services.network.ports import Sources
from ostro.services.network.quotas import foresee_port_quota
from ostro.services.network.wishes import foresee_placing
from ostro.services.placement.claims import Owner, claim_host
from ostro.services.placement.engine import HostRequest, PlacementEngine
from ostro.services.placement.names import DISABLED
from ostro.store.database import Tx
from ostro.store.flavors import Flavor
from ostro.store.hosts import HOSTS
from ostro.store.images import Image
from ostro.store.keypairs import KEYPAIRS
from ostro.store.servers import SERVER_STARTS, SERVERS, Fault, Server, ServerStart
from ostro.store.volumes import VOLUMES

SAGA = "server.create"
BUILD_S = 900.0
"""The host may have to fetch and convert a large image first."""
GIB = 1 << 30
HOSTNAME_MOST = 63
NO_HOST = 500


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What ``POST /servers`` asks for.

    ``nics`` is None for "as Compute thinks best" (``auto``), empty for none. ``zone`` may name a host as ``zone:host``. ``host`` and
    ``hypervisor`` name one without going round the scheduler. ``volumes`` are plugged in from the start.
    """

    name: str
    flavor_id: str
    image_id: str = ""
    nics: Sequence[RequestedNic] | None = None
    must_have_network: bool = False
    security_groups: Sequence[str] = ()
    key_name: str | None = None
    user_data: str = ""
    metadata: Mapping[str, str] = {}
    tags: Sequence[str] = ()
    min_count: int = 1
    max_count: int = 1
    zone: str = ""
    host: str = ""
    group_id: str = ""
    same_hosts: Sequence[str] = ()
    different_hosts: Sequence[str] = ()
    volumes: Sequence[VolumeSource] = ()
    description: str | None = None
    hostname: str = ""
    access_ipv4: str = ""
    access_ipv6: str = ""
    disk_config: str = "MANUAL"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for all servers of one request."""

    spec: ServerSpec
    flavor: Flavor
    image: Image | None
    root: VolumeSource | None
    nics: Sequence[RequestedNic]
    group_names: Sequence[str]
    group_ids: Sequence[str]
    keys: list[KeyWish]
    request: HostRequest
    disk_gb: int
    sources: Sources
    reservation_id: str
    flavor_view: str


def create_servers(tx: Tx, context: Context, engine: PlacementEngine, faults: Faults, spec: ServerSpec) -> list[Server]:
    """Create ``max_count`` servers, or as many as there is room for if that is at least ``min_count``.

    Raises Invalid, Conflict, Forbidden, QuotaExceeded with Compute's words.
    """
    sources = _foresee(tx, context, spec)
    check_items(tx, context, spec.metadata)
    plan = _make_plan(tx, context, spec, sources)
    each = {VCPU: plan.flavor.vcpus, MEMORY_MB: plan.flavor.ram_mb, DISK_GB: plan.disk_gb}
    count = check_servers(tx, context, each, spec.min_count, spec.max_count)
    check_members(tx, context, spec.group_id, count)
    servers: list[Server] = []
    for index in range(count):
        server, lack = _create(tx, context, engine, faults, plan, index, enough=len(servers) >= spec.min_count)
        if server is None:
            assert lack
            break
        servers.append(server)
    faults.hit("server.create.stored")
    return servers


# ---- validation ----------------------------------------------------------------------------------------------------


def _foresee(tx: Tx, context: Context, spec: ServerSpec) -> Sources:
    """Ask together for all that the request itself names, and what will be looked at in any case; the sources of its ports."""
    foresee_flavor(tx, spec.flavor_id)
    if spec.image_id:
        foresee_image(tx, spec.image_id)
    if spec.key_name is not None:
        KEYPAIRS.foresee(tx, user_id=context.user_id, name=spec.key_name)
    foresee_servers_quota(tx, context)
    sources = Sources(tx, context)
    networks = [nic.network_id for nic in spec.nics or () if nic.network_id]
    if networks:
        sources.ask(networks, context.project_id)
        foresee_port_quota(tx, context, context.project_id)
    return sources


def _make_plan(tx: Tx, context: Context, spec: ServerSpec, sources: Sources) -> _Plan:
    if spec.min_count > spec.max_count:
        raise Invalid("min_count must be <= max_count")
    try:
        flavor = get_flavor(tx, context, spec.flavor_id)
    except NotFound as error:
        raise Invalid(error.message) from error
    root = check_sources(tx, context, spec.volumes)
    image = _get_image(tx, context, spec.image_id) if spec.image_id else None
    if image is None and root is None:
        raise Invalid("Invalid imageRef provided.")
    if image is not None and root is None:
        check_image(context, flavor, image)
    if root is not None and root.draft is not None and root.draft.image_id:
        check_ram(flavor, _get_image(tx, context, root.draft.image_id))
    if spec.max_count > 1 and any(source.volume_id for source in spec.volumes):
        raise Invalid("Volumes can't be attached to several servers at once.")
    nics = _resolve_nics(tx, context, spec)
    group_ids: Sequence[str] = ()
    if any(nic.network_id for nic in nics):
        # An unknown group is refused before a host is sought.
        group_ids = resolve_groups(sources, context.project_id, spec.security_groups)
    disk_gb = 0 if root else _disk_gb(flavor, image)
    return _Plan(
        spec=spec,
        flavor=flavor,
        image=image,
        root=root,
        nics=nics,
        group_names=spec.security_groups,
        group_ids=group_ids,
        keys=_get_keys(tx, context, spec.key_name),
        request=_host_request(tx, context, spec, flavor, disk_gb),
        disk_gb=disk_gb,
        reservation_id="r-" + context.new_hex_id()[:8],
        sources=sources,
        flavor_view=flavor_view(flavor),
    )


def _get_image(tx: Tx, context: Context, image_id: str) -> Image:
    image = find_visible_image(tx, context, image_id)
    if image is None:
        raise Invalid("Can not find requested image")
    if image.status is not ImageStatus.ACTIVE:
        raise Invalid(f"Image {image_id} is not active.")
    return image


def check_ram(flavor: Flavor, image: Image) -> None:
    """Raise Invalid when the flavor has too little memory for the image."""
    if flavor.ram_mb < image.min_ram_mb:
        raise Invalid("Flavor's memory is too small for requested image.")


def check_image(context: Context, flavor: Flavor, image: Image) -> None:
    """Raise Invalid when the flavor is too small for the image, Forbidden when only a volume would do."""
    check_ram(flavor, image)
    if not flavor.disk_gb:
        # No disk of its own means: as large as the image. Nova leaves that to administrators.
        if not context.may_also("os_compute_api:servers:create:zero_disk_flavor"):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    size_bytes = max(image.size_bytes, image.virtual_size_bytes)
    if size_bytes > flavor.disk_gb * GIB:
        raise Invalid(
            "Flavor's disk is too small for requested image. "
            f"Flavor disk is {flavor.disk_gb * GIB} bytes, image is {size_bytes} bytes."
        )
    if image.min_disk_gb > flavor.disk_gb:
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {flavor.disk_gb * GIB} bytes, minimum size is {image.min_disk_gb * GIB} bytes."
        )


def _disk_gb(flavor: Flavor, image: Image | None) -> int:
    if flavor.disk_gb or image is None:
        return flavor.disk_gb
    return -(-max(image.size_bytes, image.virtual_size_bytes, 1) // GIB)


def _get_keys(tx: Tx, context: Context, name: str | None) -> list[KeyWish]:
    if name is None:
        return []
    keypair = KEYPAIRS.find(tx, user_id=context.user_id, name=name)
    if keypair is None:
        raise Invalid("Invalid key_name provided.")
    return [KeyWish(name=keypair.name, public_key=keypair.public_key)]


def _resolve_nics(tx: Tx, context: Context, spec: ServerSpec) -> Sequence[RequestedNic]:
    if spec.nics is not None:
        if spec.max_count > 1 and any(nic.port_id or nic.fixed_ip for nic in spec.nics):
            raise Invalid("Unable to launch multiple instances with a single configured port ID or fixed IP.")
        asked = [nic.port_id for nic in spec.nics if nic.port_id]
        if len(asked) != len(set(asked)):
            raise Invalid("A port can be given only once.")
        return spec.nics
    network_id = resolve_auto_network(tx, context)
    if network_id is not None:
        return [RequestedNic(network_id=network_id)]
    if spec.must_have_network:
        raise Invalid(f"Unable to automatically allocate a network for project {context.project_id}")
    return []


def _host_request(tx: Tx, context: Context, spec: ServerSpec, flavor: Flavor, disk_gb: int) -> HostRequest:
    """What the host must have and be."""
    asked = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram_mb, "DISK_GB": disk_gb + flavor.ephemeral_gb}
    volumes_gb, traits, bound_to = needs_of(tx, context, spec.volumes)
    required = [f"!{DISABLED}", *traits]
    for key, value in flavor.extra_specs.items():
        if key.startswith("trait:"):
            required.append(key[6:] if value == "required" else f"!{key[6:]}")
        elif key.startswith("resources:") and (amount := whole_number(str(value))) is not None:
            asked[key[10:]] = amount
    asked["DISK_GB"] = asked.get("DISK_GB", 0) + volumes_gb
    only = _named_hosts(tx, context, spec)
    for host_id in bound_to:
        only = [host_id] if only is None or host_id in only else []
    for source in spec.volumes:
        volume = VOLUMES.find(tx, id=source.volume_id)
        if volume is not None and is_shared(volume):
            required.append(storage_trait(volume.wished_backend))
        elif volume is not None:
            only = [volume.host_id] if only is None or volume.host_id in only else []
    if spec.same_hosts:
        same = set(_hosts_of(tx, context, spec.same_hosts))
        only = sorted(same if only is None else same.intersection(only))
    not_hosts = _hosts_of(tx, context, spec.different_hosts)
    return HostRequest(
        resources={name: amount for name, amount in asked.items() if amount > 0},
        required=required,
        only_hosts=only,
        not_hosts=not_hosts,
    )


def _named_hosts(tx: Tx, context: Context, spec: ServerSpec) -> list[str] | None:
    """Hosts that the request names, None when it names none. Raises Invalid and Forbidden."""
    zone, _, forced = spec.zone.partition(":")
    if zone and zone != DEFAULT_ZONE:
        raise Invalid("The requested availability zone is not available")
    names = [name for name in (forced.partition(":")[0], spec.host) if name]
    if not names:
        return None
    if not context.may_also("os_compute_api:servers:create:forced_host"):
        raise Forbidden("Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
    hosts = HOSTS.list(tx, name=names)
    if len(hosts) < len(set(names)):
        raise Invalid(f"Compute host {', '.join(names)} could not be found.")
    return [host.id for host in hosts]


def _hosts_of(tx: Tx, context: Context, server_ids: Sequence[str]) -> list[str]:
    """Where these servers of the project are."""
    if not server_ids:
        return []
    servers = SERVERS.list(tx, id=list(server_ids), project_id=context.project_id, deleted_at_us=0)
    return [server.host_id for server in servers if server.host_id]


def flavor_view(flavor: Flavor) -> str:
    """The flavor as servers show it."""
    view = {
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mb,
        "disk": flavor.disk_gb,
        "ephemeral": flavor.ephemeral_gb,
        "swap": flavor.swap_mb,
        "original_name": flavor.name,
        "extra_specs": flavor.extra_specs,
    }
    return msgspec.json.encode(view).decode()


def make_hostname(name: str, server_id: str) -> str:
    """A host name from a server's name, as Nova makes it."""
    text = re.sub(r"[ _.]", "-", name.encode("ascii", "ignore").decode())
    text = re.sub(r"[^a-zA-Z0-9-]+", "", text).lower().strip("-")[:HOSTNAME_MOST].rstrip("-")
    return text or f"server-{server_id}"[:HOSTNAME_MOST].rstrip("-")


# ---- making one ----------------------------------------------------------------------------------------------------


def _create(
    tx: Tx, context: Context, engine: PlacementEngine, faults: Faults, plan: _Plan, index: int, *, enough: bool
) -> tuple[Server | None, str]:
    """One server, or None and what was lacking when there are ``enough`` already."""
    server = _new_server(context, plan, index)
    owner = Owner(server.id, server.project_id, server.user_id)
    try:
        host_id = _claim(tx, context, engine, plan, owner)
    except NoCapacity as error:
        if enough:
            return None, error.message
        return _without_host(tx, context, server, error.message), ""
    faults.hit("server.create.claimed")
    server = _bind(tx, context, plan, server, host_id)
    faults.hit("server.create.bound")
    SERVERS.insert(tx, server)
    start = _insert_start(tx, plan, server)
    server = plug_at_start(tx, context, engine, server, plan.spec.volumes)
    record_action(tx, context, server, "create")
    add_new_wish(tx, server, start, has_volumes=bool(plan.spec.volumes))
    # Wishing it is the saga's first step. Its volumes may be lost by now, but a host is still to hear of a server without any.
    wait_s = 0.0 if plan.spec.volumes else BUILD_S
    start_saga(tx, context.new_id(), SAGA, server.id, {}, context.now_us, done=1, wait_s=wait_s)
    return server, ""


def _claim(tx: Tx, context: Context, engine: PlacementEngine, plan: _Plan, owner: Owner) -> str:
    """The host that has been claimed. Raises NoCapacity."""
    seed = context.rng.getrandbits(63)
    *preferred, last = group_requests(tx, context, plan.spec.group_id, plan.request)
    for request in preferred:
        try:
            return claim_host(tx, engine, request, owner, seed=seed, now_us=context.now_us)
        except NoCapacity:
            continue  # a soft policy gives way
    return claim_host(tx, engine, last, owner, seed=seed, now_us=context.now_us)


def _new_server(context: Context, plan: _Plan, index: int) -> Server:
    spec, flavor = plan.spec, plan.flavor
    server_id = context.new_id()
    name = f"{spec.name}-{index + 1}" if spec.max_count > 1 else spec.name
    return Server(
        id=server_id,
        project_id=context.project_id,
        user_id=context.user_id,
        name=name,
        description=spec.description,
        hostname=spec.hostname or make_hostname(name, server_id),
        flavor_id=flavor.id,
        flavor=plan.flavor_view,
        vcpus=flavor.vcpus,
        ram_mb=flavor.ram_mb,
        disk_gb=plan.disk_gb,
        image_id=plan.image.id if plan.image and not plan.root else "",
        root_volume_id=plan.root.volume_id if plan.root else "",
        key_name=spec.key_name,
        metadata=dict(spec.metadata),
        tags=sorted(set(spec.tags)),
        ports=[],
        access_ipv4=spec.access_ipv4,
        access_ipv6=spec.access_ipv6,
        disk_config=spec.disk_config,
        config_drive=False,
        zone_asked=spec.zone.partition(":")[0],
        reservation_id=plan.reservation_id,
        launch_index=index,
        group_id=spec.group_id,
        locked=False,
        locked_reason=None,
        host_id="",
        host_name="",
        power=Power.ON,
        reboots=0,
        reboot_hard=False,
        failed=False,
        fault=None,
        deleting=False,
        status="BUILD",
        vm_state=VmState.BUILDING,
        task_state=TaskState.SPAWNING,
        power_state=PowerState.NOSTATE,
        created_at_us=context.now_us,
        updated_at_us=context.now_us,
        launched_at_us=0,
        deleted_at_us=0,
    )


def _bind(tx: Tx, context: Context, plan: _Plan, server: Server, host_id: str) -> Server:
    """Put the server, its NICs and its image on the host."""
    for network_id in {nic.network_id for nic in plan.nics if nic.network_id}:
        foresee_placing(tx, host_id, network_id, plan.group_ids)
    if plan.image is not None and server.image_id:
        foresee_hold(tx, host_id, plan.image.id)
    host = plan.sources.host(host_id)
    ports = allocate_nics(
        tx,
        context,
        server_id=server.id,
        hostname=server.hostname,
        project_id=server.project_id,
        host_id=host_id,
        nics=plan.nics,
        security_groups=plan.group_names,
        az=DEFAULT_ZONE,
        sources=plan.sources,
    )
    if plan.image is not None and server.image_id:
        hold_found_image(tx, host_id, plan.image, server.id)
    return msgspec.structs.replace(server, host_id=host_id, host_name=host.name, ports=[port.id for port in ports])


def _insert_start(tx: Tx, plan: _Plan, server: Server) -> ServerStart | None:
    if not plan.spec.user_data and not plan.keys:
        return None
    return SERVER_STARTS.insert(tx, ServerStart(server.id, plan.spec.user_data, plan.keys))


def _without_host(tx: Tx, context: Context, server: Server, reason: str) -> Server:
    """The server that nobody could take: only its row, in ERROR."""
    server = msgspec.structs.replace(
        server,
        failed=True,
        fault=Fault(NO_HOST, reason, "", context.now_us),
        status="ERROR",
        vm_state=VmState.ERROR,
        task_state=TaskState.NONE,
    )
    SERVERS.insert(tx, server)
    record_action(tx, context, server, "create")
    finish(tx, server.id, ("create",), context.now_us, error=reason)
    return server
