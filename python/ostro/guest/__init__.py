"""The tiny guest: a bootable image under 20 MB for demos, labs and tests, made of Debian packages.

Debian's cloud kernel, a handful of its modules and busybox, in one RAM file system that syslinux loads from a FAT partition.
Built without root, loop devices or mounts; packages are fetched by ``apt-get download`` into a cache and only unpacked,
never installed. Times and identifiers are fixed, so the same packages give the same image.

Nothing on the disk is used after boot: the guest runs from RAM, and any disk may be plugged in or pulled. It talks to the
world by lines on its serial console (ttyS0), which also gives a root shell to who presses Enter:

    guest: userspace uptime=S cpus=N mem_kb=N image=NAME     the kernel is up
    guest: disk NAME size_bytes=N serial=S                   a disk seen, at boot or plugged in later
    guest: disk NAME resized size_bytes=N | removed
    guest: address NIC IP/MASK gateway=IP mtu=N              a DHCP answer
    guest: no-address NIC                                    none within 8 s; it goes on asking
    guest: instance-id ID | hostname NAME | no-metadata      from 169.254.169.254
    guest: user-data start, ..., guest: user-data exit=N     around a user-data script (first line ``#!``, run by sh)
    guest: ready uptime=S host=NAME                          boot is over
    guest: power button                                      ACPI asked it to go; it powers off at once
"""

from ostro.guest.build import VARIANTS, build_image

__all__ = ["VARIANTS", "build_image"]
