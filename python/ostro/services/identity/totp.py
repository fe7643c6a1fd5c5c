"""One-time passcodes by the clock: RFC 6238 with SHA-1, six digits, thirty seconds. The present one and the one before are good."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

STEP_S = 30
WINDOWS_BEFORE = 1


def make_passcode(secret: bytes, step: int) -> str:
    """The passcode of one time step."""
    digest = hmac.digest(secret, struct.pack(">Q", step), hashlib.sha1)
    at = digest[-1] & 0x0F
    number = struct.unpack(">I", digest[at : at + 4])[0] & 0x7FFF_FFFF
    return f"{number % 1_000_000:06d}"


def is_passcode(secret_base32: str, passcode: str, now_us: int) -> bool:
    """Whether the passcode is one of the secret's at this time. Every candidate is compared, in constant time."""
    try:
        text = secret_base32.strip().replace(" ", "").upper()
        secret = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return False
    step = now_us // (STEP_S * 1_000_000)
    good = False
    for back in range(WINDOWS_BEFORE + 1):
        good |= hmac.compare_digest(make_passcode(secret, step - back).encode(), passcode.encode())
    return good
