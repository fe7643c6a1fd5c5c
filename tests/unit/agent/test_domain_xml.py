"""Domain XML: what is written can be read back, and holds what matters."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Memo, Nic
from ostro.agent.drivers.hypervisor.domain_xml import (
    Landing,
    disk_xml,
    domain_xml,
    has_odd_ram,
    moved_xml,
    read_disks,
    read_tag,
)

MEMO = Memo(7, 2, "boot")
DISKS = [Disk("vda", "/d/root", "qcow2"), Disk("vdb", "/d/volume", "raw", "volume-1")]
NICS = [Nic("fa:16:3e:00:00:01", "tap1", 1450, offload=False), Nic("fa:16:3e:00:00:02", "tap2", 1500, offload=True)]
SPEC = DomainSpec("5e000000-0000-4000-8000-000000000001", 'a <b> & "c"\n', "project-1", 2, 96, DISKS, NICS)


def made(acceleration: str = "tcg") -> ET.Element:
    return ET.fromstring(domain_xml(SPEC, MEMO, "cloud-1", acceleration, "/log"))


def test_the_tag_and_the_disks_are_read_back() -> None:
    xml = domain_xml(SPEC, MEMO, "cloud-1", "tcg", "/log")
    assert read_tag(xml) == ("cloud-1", "project-1", MEMO)
    assert read_disks(xml) == DISKS


def test_a_foreign_domain_has_no_tag() -> None:
    assert read_tag("<domain><name>x</name></domain>") is None
    assert read_tag("<domain><metadata><other xmlns='urn:other'/></metadata></domain>") is None


def test_every_disk_states_its_format() -> None:
    drivers = [ET.fromstring(disk_xml(disk)).find("driver") for disk in DISKS]
    assert [driver is not None and driver.get("type") for driver in drivers] == ["qcow2", "raw"]


def test_pcie_root_comes_before_the_ports_that_are_plugged_into_it() -> None:
    models = [controller.get("model") for controller in made().iterfind("devices/controller[@type='pci']")]
    assert models[0] == "pcie-root" and set(models[1:]) == {"pcie-root-port"} and len(models) > 20


def test_taps_are_opened_and_not_made_and_offloads_are_off_where_the_host_can_not_take_them() -> None:
    plain, offloading = made().findall("devices/interface")
    target = plain.find("target")
    assert target is not None and target.attrib == {"dev": "tap1", "managed": "no"}
    host, guest = plain.find("driver/host"), plain.find("driver/guest")
    assert host is not None and guest is not None
    assert set(host.attrib.values()) == set(guest.attrib.values()) == {"off"}
    assert offloading.find("driver") is None


def test_acceleration() -> None:
    assert made("kvm").get("type") == "kvm"
    assert made("tcg").get("type") == "qemu"


def test_a_title_has_no_control_characters() -> None:
    assert made().findtext("title") == 'a <b> & "c"'


def test_memory_of_an_odd_size_is_no_multiple_of_64_pages_and_stays_so_on_another_host() -> None:
    assert not has_odd_ram(domain_xml(SPEC, MEMO, "cloud-1", "tcg", "/log"))
    xml = domain_xml(SPEC, MEMO, "cloud-1", "tcg", "/log", odd_ram=True)
    words = [element.get("value", "") for element in ET.fromstring(xml)[-1]]
    sizes = {int(size) for word in words for size in re.findall(r"size=(\d+)k", word)}
    assert len(sizes) == 1 and len(words) == 6, words
    (size_kib,) = sizes
    assert size_kib % 8 == 0 and size_kib % (64 * 4) != 0 and 0 < 96 * 1024 - size_kib < 64 * 4
    landing = Landing("192.0.2.1", 1, False, DISKS, "/other/log", Memo(0, 0, "", "m"))
    assert has_odd_ram(xml) and has_odd_ram(moved_xml(xml, landing))
