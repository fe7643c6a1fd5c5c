"""``ostro seed``: the images, flavors and network of a lab. Run it as often as you like: what is there stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ostro.cli.client import Client
from ostro.cli.state import StateDir
from ostro.cli.up import DEFAULT_STATE
from ostro.guest import VARIANTS, build_image

NETWORK = "private"
CIDR = "10.10.0.0/22"


@dataclass(frozen=True)
class Flavor:
    """A flavor of the lab."""

    name: str
    vcpus: int
    ram_mb: int
    disk_gb: int


FLAVORS = (
    Flavor("m1.nano", 1, 96, 1),
    Flavor("m1.micro", 1, 128, 1),
    Flavor("m1.small", 1, 512, 5),
    Flavor("m1.large", 2, 2048, 20),
)


def _say(kind: str, name: str, made: bool) -> None:
    click.echo(f"{kind} {name}: {'made' if made else 'there already'}")


def seed_image(client: Client, name: str, file: Path) -> bool:
    """An active public image of this name; whether it had to be made. One left half-made by an earlier run is finished."""
    images = client.call("GET", f"/image/v2/images?name={name}")["images"]
    if any(image["status"] == "active" for image in images):
        return False
    queued = [image["id"] for image in images if image["status"] == "queued"]
    body = {"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
    image_id = queued[0] if queued else client.call("POST", "/image/v2/images", body)["id"]
    client.upload(f"/image/v2/images/{image_id}/file", file)
    return True


def seed_flavor(client: Client, flavor: Flavor) -> bool:
    """A public flavor; whether it had to be made."""
    if any(known["name"] == flavor.name for known in client.call("GET", "/compute/v2.1/flavors")["flavors"]):
        return False
    body = {"name": flavor.name, "vcpus": flavor.vcpus, "ram": flavor.ram_mb, "disk": flavor.disk_gb}
    client.call("POST", "/compute/v2.1/flavors", {"flavor": body})
    return True


def seed_network(client: Client) -> bool:
    """The shared network with its subnet; whether anything had to be made."""
    networks = client.call("GET", f"/networking/v2.0/networks?name={NETWORK}")["networks"]
    if networks and networks[0]["subnets"]:
        return False
    if not networks:
        networks = [
            client.call("POST", "/networking/v2.0/networks", {"network": {"name": NETWORK, "shared": True}})["network"]
        ]
    subnet = {"name": NETWORK, "network_id": networks[0]["id"], "ip_version": 4, "cidr": CIDR}
    client.call("POST", "/networking/v2.0/subnets", {"subnet": subnet})
    return True


def seed_lab(client: Client, images: Path, cache: Path) -> None:
    """All of it. Images are built below ``images`` when they are not there."""
    for variant in VARIANTS:
        file = images / f"{variant}.qcow2"
        if not file.exists():
            click.echo(f"building image {variant} ...")
            build_image(variant, file, cache)
        _say("image", variant, seed_image(client, variant, file))
    for flavor in FLAVORS:
        _say("flavor", flavor.name, seed_flavor(client, flavor))
    _say("network", NETWORK, seed_network(client))


@click.command()
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")
@click.option(
    "--images",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the guest images are, or are built.  [default: STATE/guest]",
)
def seed(state: str, images: Path | None) -> None:
    """Make a lab in the running cloud: images, flavors and a shared network."""
    directory = StateDir.make(state)
    folder = images or directory.root / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    seed_lab(Client(directory), folder, folder / "cache")
