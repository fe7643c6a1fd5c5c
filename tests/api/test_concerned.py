"""Of a change only those hosts hear that it concerns: none of a thousand others is woken, and none is sent a byte of it."""

from __future__ import annotations

from collections import Counter
from functools import partial

from ostro.store.hosts import host_topic
from ostro.testing.cloud import TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.moving import COMPUTE, NETWORK

HOSTS = 1000
RED, BLUE = ("host-17", "host-400", "host-999"), ("host-18", "host-401")
WISH_MOST_BYTES = 4096


async def _boot(cloud: TestCloud, name: str, host: str, network_id: str) -> str:
    """A server on the host; its port's id."""
    server = {"name": name, "imageRef": IMAGE_ID, "flavorRef": "f", "networks": [{"uuid": network_id}]}
    answer = await cloud.as_admin.post(
        f"{COMPUTE}/servers", {"server": {**server, "availability_zone": f"nova:{host}"}}
    )
    assert answer.status == 202, answer.body
    [port] = (await cloud.as_admin.get(f"{NETWORK}/ports?device_id={answer.json['server']['id']}")).json["ports"]
    return str(port["id"])


async def _news(host: SimHost) -> tuple[int, int]:
    """How many wishes the host's feed has for it, and in how many bytes."""
    answer = await host.client.get(f"/agent/v1/hosts/{host.host_id}/wishes?since={host.revision}&wait_s=0")
    assert answer.status == 200
    return len(answer.json["wishes"]), len(answer.body)


async def test_one_port_of_a_thousand_hosts(cloud: TestCloud) -> None:
    hosts = {f"host-{number}": await add_host(cloud, f"host-{number}") for number in range(HOSTS)}
    await cloud.db.run(put_image)
    flavor = {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}
    assert (await cloud.as_admin.post(f"{COMPUTE}/flavors", {"flavor": flavor})).status == 200
    ports: dict[str, str] = {}
    for name, places in (("red", RED), ("blue", BLUE)):
        made = await cloud.as_admin.post(f"{NETWORK}/networks", {"network": {"name": name}})
        network_id = made.json["network"]["id"]
        subnet = {"network_id": network_id, "ip_version": 4, "cidr": "10.0.0.0/24"}
        assert (await cloud.as_admin.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201
        for place in places:
            ports[place] = await _boot(cloud, f"on-{place}", place, network_id)
    concerned = [hosts[name] for name in (*RED, *BLUE)]
    await converge(cloud, *concerned)
    woken: Counter[str] = Counter()
    for name, host in hosts.items():
        assert await host.read_wishes() == 0
        cloud.db.doorbell.subscribe(host_topic(host.host_id), partial(woken.update, [name]))

    pairs = {"port": {"allowed_address_pairs": [{"ip_address": "10.0.0.77"}]}}
    assert (await cloud.as_admin.put(f"{NETWORK}/ports/{ports[RED[0]]}", pairs)).status == 200

    news = {name: await _news(host) for name, host in hosts.items()}
    told = {name for name, (count, _bytes) in news.items() if count}
    assert told == set(woken) and RED[0] in told and told <= set(RED)
    silence = {size for name, (_count, size) in news.items() if name not in told}
    assert max(silence) <= len(b'{"revision":1000000,"full":false,"wishes":[]}')
    assert sum(size for name, (_count, size) in news.items() if name in told) <= WISH_MOST_BYTES * len(told)

    # A server that goes is news for all who have ports of its network, and for nobody else.
    await converge(cloud, *concerned)
    woken.clear()
    [server] = (await cloud.as_admin.get(f"{COMPUTE}/servers?name=on-{RED[0]}")).json["servers"]
    assert (await cloud.as_admin.delete(f"{COMPUTE}/servers/{server['id']}")).status == 204
    await converge(cloud, *concerned)
    assert set(woken) == set(RED)
