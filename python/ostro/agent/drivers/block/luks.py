"""LUKS 1 headers, for volumes that QEMU encrypts. Pure.

The header of a volume is made here rather than by ``qemu-img create``, which spends seconds of a processor on measuring how often it could hash a
passphrase. Ours are 256 random bits, and need no slow hashing. What is written is plain LUKS 1, which QEMU and cryptsetup open.

::

    0        the header: cipher, digest of the volume's key, eight slots for passphrases
    4 KiB    the first slot's material: the volume's key, split into 4,000 stripes and encrypted with the passphrase
    2 MiB    the volume
"""

from __future__ import annotations

import hashlib
import struct
from random import Random

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

HEADER_BYTES = 2 << 20
"""Before the volume's own first byte."""
SECTOR_BYTES = 512
ALIGN_SECTORS = 8
STRIPES = 4000
SLOTS = 8
ITERATIONS = 20_000
ENABLED, DISABLED = 0x00AC71F3, 0x0000DEAD
DIGEST_BYTES = 20
SALT_BYTES = 32
_HEADER = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")


def make_header(passphrase: str, key_bits: int, uuid: str, random: Random) -> bytes:
    """``HEADER_BYTES`` for a volume that ``passphrase`` opens, with a fresh key of 256 or 512 bits (AES-128 or AES-256 in XTS mode)."""
    key_bytes = key_bits // 8
    slot_sectors = _round_up(-(-key_bytes * STRIPES // SECTOR_BYTES))
    assert ALIGN_SECTORS + SLOTS * slot_sectors <= HEADER_BYTES // SECTOR_BYTES, "the slots end before the volume"
    key, digest_salt, slot_salt = (random.randbytes(length) for length in (key_bytes, SALT_BYTES, SALT_BYTES))
    fields = _HEADER.pack(
        b"LUKS\xba\xbe",
        1,
        b"aes",
        b"xts-plain64",
        b"sha256",
        HEADER_BYTES // SECTOR_BYTES,
        key_bytes,
        _derive(key, digest_salt, DIGEST_BYTES),
        digest_salt,
        ITERATIONS,
        uuid.encode(),
    )
    offsets = [ALIGN_SECTORS + index * slot_sectors for index in range(SLOTS)]
    fields += _SLOT.pack(ENABLED, ITERATIONS, slot_salt, offsets[0], STRIPES)
    for offset in offsets[1:]:
        fields += _SLOT.pack(DISABLED, 0, bytes(SALT_BYTES), offset, STRIPES)
    material = _encrypt(_split(key, random), _derive(passphrase.encode(), slot_salt, key_bytes))
    head = fields.ljust(offsets[0] * SECTOR_BYTES, b"\0") + material
    return head.ljust(HEADER_BYTES, b"\0")


def _round_up(sectors: int) -> int:
    return -(-sectors // ALIGN_SECTORS) * ALIGN_SECTORS


def _derive(secret: bytes, salt: bytes, length: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", secret, salt, ITERATIONS, length)


def _split(key: bytes, random: Random) -> bytes:
    """The key spread over stripes, all of which are needed to have it back: LUKS's anti-forensic splitter."""
    stripes, last = [], bytes(len(key))
    for _ in range(STRIPES - 1):
        stripe = random.randbytes(len(key))
        last = _diffuse(_xor(last, stripe))
        stripes.append(stripe)
    return b"".join((*stripes, _xor(last, key)))


def _diffuse(data: bytes) -> bytes:
    size = hashlib.sha256().digest_size
    blocks = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(
        hashlib.sha256(struct.pack(">I", index) + block).digest()[: len(block)] for index, block in enumerate(blocks)
    )


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _encrypt(data: bytes, key: bytes) -> bytes:
    """By sectors, each with its number as the tweak."""
    data = data.ljust(-(-len(data) // SECTOR_BYTES) * SECTOR_BYTES, b"\0")
    out = []
    for number, start in enumerate(range(0, len(data), SECTOR_BYTES)):
        encryptor = Cipher(AES(key), XTS(number.to_bytes(16, "little"))).encryptor()
        out.append(encryptor.update(data[start : start + SECTOR_BYTES]) + encryptor.finalize())
    return b"".join(out)
