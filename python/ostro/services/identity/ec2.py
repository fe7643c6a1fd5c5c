"""EC2 and S3 signatures: who signed this request, by a pair of keys that Identity keeps.

The caller, a service, hands over what the client signed; the secret stays here. Versions 1 and 2 of EC2's query signature, version 4, and S3's
string to sign. Source: AWS's documentation of its signing processes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ostro.model.errors import Invalid, Unauthenticated
from ostro.model.times import parse_iso
from ostro.services.identity.tokens import REFUSED

WINDOW_US = 900 * 1_000_000
"""How old a signature may be, or how far ahead its clock."""
_SAFE = "-_.~"


def _quote(text: object) -> str:
    return quote(str(text), safe=_SAFE)


def _sorted_query(params: Mapping[str, Any], *without: str) -> str:
    pairs = sorted((_quote(k), _quote(v)) for k, v in params.items() if k not in without)
    return "&".join(f"{k}={v}" for k, v in pairs)


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise Invalid(f"Invalid input for field '{name}'.")
    return value


def sign_query(secret: str, given: Mapping[str, Any]) -> list[str]:
    """Signatures of EC2's query API, version 2, that are right: the host with its port and without it."""
    params = given.get("params") or {}
    digest = hashlib.sha1 if params.get("SignatureMethod") == "HmacSHA1" else hashlib.sha256
    out = []
    host = _text(given, "host").lower()
    for name in dict.fromkeys((host, host.partition(":")[0])):
        signed = f"{_text(given, 'verb').upper()}\n{name}\n{_text(given, 'path')}\n{_sorted_query(params, 'Signature')}"
        out.append(base64.b64encode(hmac.digest(secret.encode(), signed.encode(), digest)).decode())
    return out


def _derived_key(secret: str, scope: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


def sign_v4(secret: str, given: Mapping[str, Any]) -> list[str]:
    """The right signature of version 4."""
    headers = {str(k).lower(): str(v) for k, v in (given.get("headers") or {}).items()}
    params = given.get("params") or {}
    authorization = headers.get("authorization", "")
    fields = dict(
        part.strip().partition("=")[::2] for part in authorization.removeprefix("AWS4-HMAC-SHA256").split(",")
    )
    credential = fields.get("Credential") or str(params.get("X-Amz-Credential", ""))
    signed_names = (fields.get("SignedHeaders") or str(params.get("X-Amz-SignedHeaders", ""))).split(";")
    scope = credential.partition("/")[2]
    stamp = headers.get("x-amz-date") or str(params.get("X-Amz-Date", ""))
    query = _sorted_query(params, "X-Amz-Signature") if given.get("verb") != "POST" or not authorization else ""
    shown = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in signed_names)
    canonical = "\n".join(
        (
            _text(given, "verb"),
            _text(given, "path") or "/",
            query,
            shown,
            ";".join(signed_names),
            _text(given, "body_hash"),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    return [hmac.digest(_derived_key(secret, scope), to_sign.encode(), hashlib.sha256).hex()]


def _check_age(headers: Mapping[str, str], params: Mapping[str, Any], now_us: int) -> None:
    """Raise Unauthenticated for a signature that is older than ``WINDOW_S`` or past its own expiry. CVE-2020-12692."""
    for text, is_expiry in (
        (headers.get("x-amz-date") or params.get("X-Amz-Date"), False),
        (params.get("Timestamp"), False),
        (params.get("Expires"), True),
    ):
        if not text:
            continue
        try:
            at_us = parse_iso(str(text))
        except ValueError as error:
            raise Unauthenticated(REFUSED, detail="not a time") from error
        late_us = now_us - at_us
        if late_us > (0 if is_expiry else WINDOW_US) or (not is_expiry and -late_us > WINDOW_US):
            raise Unauthenticated(REFUSED, detail="the signature is too old")


def check_ec2(secret: str, given: Mapping[str, Any], now_us: int) -> None:
    """Raise Unauthenticated unless the request that is told of was signed with the secret, lately."""
    headers = {str(k).lower(): str(v) for k, v in (given.get("headers") or {}).items()}
    params = given.get("params") or {}
    is_v4 = headers.get("authorization", "").startswith("AWS4") or "X-Amz-Algorithm" in params
    _check_age(headers, params, now_us)
    right = sign_v4(secret, given) if is_v4 else sign_query(secret, given)
    _compare(right, _text(given, "signature"))


def check_s3(secret: str, given: Mapping[str, Any], now_us: int) -> None:
    """The same for S3, whose string to sign the service made: ``token`` is it in base64; version 4's names its day and region inside."""
    try:
        to_sign = base64.urlsafe_b64decode(_text(given, "token"))
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated(REFUSED, detail="not base64") from error
    if to_sign.startswith(b"AWS4-HMAC-SHA256"):
        lines = to_sign.decode(errors="replace").split("\n")
        if len(lines) != 4:
            raise Unauthenticated(REFUSED, detail="not a string to sign")
        _check_age({"x-amz-date": lines[1]}, {}, now_us)
        right = hmac.digest(_derived_key(secret, lines[2]), to_sign, hashlib.sha256).hex()
    else:
        right = base64.b64encode(hmac.digest(secret.encode(), to_sign, hashlib.sha1)).decode()
    _compare([right], _text(given, "signature"))


def _compare(right: list[str], given: str) -> None:
    good = False
    for signature in right:
        good |= hmac.compare_digest(signature.encode(), given.encode())
    if not good:
        raise Unauthenticated(REFUSED, detail="wrong signature")
