"""Between our domain structs and libvirt's XML. Pure.

The machine is q35 with ``pcie-root`` listed first, as libvirt wants it, and a fixed number of root ports, because a PCIe
device can only be plugged into a port that was there at power-on. Disk formats are always written out: QEMU must never
guess one, since a guest can write any header it likes onto its own raw disk.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec

from ostro.agent.drivers.block import CephAccess
from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Memo, Nic
from ostro.model.qos import FRONT_END_LIMITS as NUMBERS
from ostro.model.volumes import LUKS

TAG_URI = "urn:ostro:domain:1"
TAG_NAME = "ostro"
QEMU_URI = "http://libvirt.org/schemas/domain/qemu/1.0"
ODD_RAM = "ostro.ram"
ODD_RAM_LESS_KIB = 8
"""QEMU takes memory in steps of as much."""
RBD = "rbd:"
MAX_PCI_DEVICES = 26
"""Root ports: the boot disk, cards and the random source take some, the rest is for hot-plugging."""

TCG_CPU = "Nehalem"
"""x86-64-v2, which current distributions need, and the quickest to boot of those under TCG (4.8 s; ``maximum`` 5.5 s)."""

_OFFLOADS = {
    "host": ("csum", "gso", "tso4", "tso6", "ecn", "ufo"),
    "guest": ("csum", "tso4", "tso6", "ecn", "ufo"),
}


class Landing(msgspec.Struct, frozen=True):
    """What a hypervisor says of itself to one that sends it a domain.

    ``address`` and ``port`` are where its libvirt listens, ``tls`` whether both sides have to show certificates there: its own is ``host``'s.
    """

    address: str
    port: int
    tls: bool
    disks: list[Disk]
    console_log: str
    memo: Memo
    host: str = ""


ET.register_namespace(TAG_NAME, TAG_URI)
ET.register_namespace("qemu", QEMU_URI)


def domain_name(server_id: str) -> str:
    """The name under which a server's domain shows in virsh."""
    return f"ostro-{server_id}"


def domain_xml(
    spec: DomainSpec, memo: Memo, cloud_id: str, acceleration: str, console_log: str, *, odd_ram: bool = False
) -> str:
    """The whole definition. ``acceleration`` is kvm or tcg; ``console_log`` is the file that serial output is appended to; ``odd_ram`` see `has_odd_ram`."""
    domain = ET.Element("domain", type="kvm" if acceleration == "kvm" else "qemu")
    _text(domain, "name", domain_name(spec.server_id))
    _text(domain, "uuid", spec.server_id)
    _text(domain, "title", "".join(c for c in spec.name if c.isprintable()) or spec.server_id)
    ET.SubElement(domain, "metadata").append(_tag(memo, cloud_id, spec.project_id))
    _text(domain, "memory", str(spec.ram_mb), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus), placement="static")
    _identity(domain, spec.server_id)
    os_ = ET.SubElement(domain, "os")
    _text(os_, "type", "hvm", arch="x86_64", machine="q35")
    ET.SubElement(os_, "boot", dev="hd")
    ET.SubElement(os_, "smbios", mode="sysinfo")
    ET.SubElement(os_, "bios", rebootTimeout="1000")
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    _cpu(domain, acceleration)
    ET.SubElement(domain, "clock", offset="utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(domain, event, action)
    devices = ET.SubElement(domain, "devices")
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for index in range(1, MAX_PCI_DEVICES + 1):
        ET.SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")
    ET.SubElement(devices, "controller", type="usb", model="none")
    for disk in spec.disks:
        devices.append(_disk(disk))
    for nic in spec.nics:
        devices.append(_nic(nic))
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=console_log, append="on")
    ET.SubElement(ET.SubElement(devices, "rng", model="virtio"), "backend", model="random").text = "/dev/urandom"
    ET.SubElement(devices, "memballoon", model="none")
    if odd_ram:
        domain.append(_odd_ram(spec.ram_mb))
    return ET.tostring(domain, encoding="unicode")


def has_odd_ram(domain_xml_: str) -> bool:
    """Whether the domain's memory is of a size that no QEMU is mistaken about while it sends it.

    Before 9.0, one that emulates looks through memory by 64 pages at a time for what the guest has written, and then forgets to have the emulated processor tell of what it
    writes there next ("physmem: Fix migration dirty bitmap coherency with TCG memory access"). Memory whose size is no multiple of 64 pages it looks through page by page, and rightly.
    """
    arguments = ET.fromstring(domain_xml_).iterfind(f"{{{QEMU_URI}}}commandline/{{{QEMU_URI}}}arg")
    return any(argument.get("value") == f"memory-backend={ODD_RAM}" for argument in arguments)


def _odd_ram(ram_mb: int) -> ET.Element:
    """libvirt takes memory by the MiB only, so what it says of it is taken back."""
    ram_kib = ram_mb * 1024 - ODD_RAM_LESS_KIB
    element = ET.Element(f"{{{QEMU_URI}}}commandline")
    backend = f"memory-backend-ram,id={ODD_RAM},size={ram_kib}k"
    for name, value in (("object", backend), ("machine", f"memory-backend={ODD_RAM}"), ("m", f"size={ram_kib}k")):
        ET.SubElement(element, f"{{{QEMU_URI}}}arg", value=f"-{name}")
        ET.SubElement(element, f"{{{QEMU_URI}}}arg", value=value)
    return element


def tag_xml(memo: Memo, cloud_id: str, project_id: str) -> str:
    """The tag alone, without its namespace, which libvirt's metadata calls take apart from it."""
    return ET.tostring(ET.Element("domain", _tag(memo, cloud_id, project_id).attrib), encoding="unicode")


def disk_xml(disk: Disk) -> str:
    """One disk, as libvirt's attach and detach calls take it."""
    return ET.tostring(_disk(disk), encoding="unicode")


def nic_xml(nic: Nic) -> str:
    """One card, as libvirt's attach call takes it."""
    return ET.tostring(_nic(nic), encoding="unicode")


def read_nics(domain_xml_: str) -> dict[str, str]:
    """The cards in a domain's XML: each by its address, as libvirt's detach call takes it."""
    found = {}
    for element in ET.fromstring(domain_xml_).iterfind("devices/interface"):
        mac = element.find("mac")
        if mac is not None:
            found[mac.get("address", "").lower()] = ET.tostring(element, encoding="unicode")
    return found


def secret_xml(secret_id: str, title: str) -> str:
    """A secret for Ceph that libvirt keeps in memory only and shows to nobody.

    What it is for must be unlike what any other is for, and other clouds on this libvirtd may have a user of the same name.
    """
    secret = ET.Element("secret", ephemeral="yes", private="yes")
    _text(secret, "uuid", secret_id)
    usage = ET.SubElement(secret, "usage", type="ceph")
    _text(usage, "name", f"{title} {secret_id}")
    return ET.tostring(secret, encoding="unicode")


def volume_secret_xml(volume_id: str) -> str:
    """A secret that opens one volume, as `secret_xml`. It has the volume's id."""
    secret = ET.Element("secret", ephemeral="yes", private="yes")
    _text(secret, "uuid", volume_id)
    usage = ET.SubElement(secret, "usage", type="volume")
    _text(usage, "volume", f"ostro/{volume_id}")
    return ET.tostring(secret, encoding="unicode")


def read_tag(domain_xml_: str) -> tuple[str, str, Memo] | None:
    """Cloud, project and memo from a domain's XML; None when it bears no tag of ours."""
    tag = ET.fromstring(domain_xml_).find(f"metadata/{{{TAG_URI}}}domain")
    if tag is None:
        return None
    memo = Memo(int(tag.get("generation", "0")), int(tag.get("reboots", "0")), tag.get("boot", ""), tag.get("move", ""))
    return tag.get("cloud", ""), tag.get("project", ""), memo


def moved_xml(domain_xml_: str, landing: Landing) -> str:
    """A domain's XML as the other host will have it: its devices as they are, but with that host's files and memo."""
    domain = ET.fromstring(domain_xml_)
    disks = {disk.device: disk for disk in landing.disks}
    for element in domain.iterfind("devices/disk"):
        target = element.find("target")
        disk = disks.get(target.get("dev", "") if target is not None else "")
        if disk is not None:
            for name in ("source", "backingStore"):
                for old in element.findall(name):
                    element.remove(old)
            new = _disk(disk).find("source")
            assert new is not None, "every disk of ours has one"
            element.append(new)
    for log_file in domain.iterfind("devices/*/log"):
        log_file.set("file", landing.console_log)
    tag = domain.find(f"metadata/{{{TAG_URI}}}domain")
    metadata = domain.find("metadata")
    assert tag is not None and metadata is not None, "only domains of ours are moved"
    metadata.remove(tag)
    metadata.append(_tag(landing.memo, tag.get("cloud", ""), tag.get("project", "")))
    return ET.tostring(domain, encoding="unicode")


def read_disks(domain_xml_: str) -> list[Disk]:
    """The disks in a domain's XML."""
    disks = []
    for element in ET.fromstring(domain_xml_).iterfind("devices/disk"):
        source, target, driver = element.find("source"), element.find("target"), element.find("driver")
        if source is not None and target is not None and driver is not None:
            path, access = _read_source(source)
            volume_id = element.findtext("serial", "")
            format_ = LUKS if source.find("encryption") is not None else driver.get("type", "")
            limits = {item.tag: int(item.text or 0) for item in element.iterfind("iotune/*") if item.tag in NUMBERS}
            disks.append(Disk(target.get("dev", ""), path, format_, volume_id, access, limits))
    return disks


def _read_source(source: ET.Element) -> tuple[str, CephAccess | None]:
    conf, auth, secret = source.find("config"), source.find("auth"), source.find("auth/secret")
    if source.get("protocol") != "rbd" or conf is None or auth is None or secret is None:
        return source.get("file", ""), None
    access = CephAccess(conf.get("file", ""), auth.get("username", ""), secret.get("uuid", ""))
    return f"{RBD}{source.get('name', '')}", access


def _text(parent: ET.Element, element: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, element, attributes).text = text


def _tag(memo: Memo, cloud_id: str, project_id: str) -> ET.Element:
    tag = ET.Element(
        f"{{{TAG_URI}}}domain",
        cloud=cloud_id,
        project=project_id,
        generation=str(memo.generation),
        reboots=str(memo.reboots),
        boot=memo.boot_id,
    )
    if memo.move:
        tag.set("move", memo.move)
    return tag


def _identity(domain: ET.Element, server_id: str) -> None:
    """What the guest's firmware tells of the machine. cloud-init knows an OpenStack guest by this product name."""
    system = ET.SubElement(ET.SubElement(domain, "sysinfo", type="smbios"), "system")
    for name, value in (
        ("manufacturer", "Ostro"),
        ("product", "OpenStack Compute"),
        ("serial", server_id),
        ("uuid", server_id),
        ("family", "Virtual Machine"),
    ):
        _text(system, "entry", value, name=name)


def _cpu(domain: ET.Element, acceleration: str) -> None:
    if acceleration == "kvm":
        ET.SubElement(domain, "cpu", mode="host-model", check="partial")
        return
    cpu = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
    _text(cpu, "model", TCG_CPU, fallback="forbid")


def _disk(disk: Disk) -> ET.Element:
    element = ET.Element("disk", type="network" if disk.ceph else "file", device="disk")
    format_ = "raw" if disk.format == LUKS else disk.format
    ET.SubElement(element, "driver", name="qemu", type=format_, cache="writeback", discard="unmap")
    if disk.ceph:
        # QEMU is its own client of Ceph, and libvirt hands it the key; nothing is mapped in the kernel.
        source = ET.SubElement(element, "source", protocol="rbd", name=disk.path.removeprefix(RBD))
        ET.SubElement(source, "config", file=disk.ceph.conf)
        auth = ET.SubElement(source, "auth", username=disk.ceph.user)
        ET.SubElement(auth, "secret", type="ceph", uuid=disk.ceph.secret_id)
    else:
        source = ET.SubElement(element, "source", file=disk.path)
    if disk.format == LUKS:
        encryption = ET.SubElement(source, "encryption", format="luks")
        ET.SubElement(encryption, "secret", type="passphrase", uuid=disk.volume_id)
    if disk.limits:
        iotune = ET.SubElement(element, "iotune")
        for name, value in sorted(disk.limits.items()):
            _text(iotune, name, str(value))
    ET.SubElement(element, "target", dev=disk.device, bus="virtio")
    if disk.volume_id:
        _text(element, "serial", disk.volume_id)
    return element


def _nic(nic: Nic) -> ET.Element:
    element = ET.Element("interface", type="ethernet")
    ET.SubElement(element, "mac", address=nic.mac)
    ET.SubElement(element, "target", dev=nic.tap, managed="no")
    ET.SubElement(element, "mtu", size=str(nic.mtu))
    ET.SubElement(element, "model", type="virtio")
    if not nic.offload:
        driver = ET.SubElement(element, "driver")
        for side, names in _OFFLOADS.items():
            ET.SubElement(driver, side, dict.fromkeys(names, "off"))
    return element
