"""Signatures and passcodes against the published examples of others."""

from __future__ import annotations

import base64
import hashlib

import pytest

from ostro.model.errors import Invalid, Unauthenticated
from ostro.model.times import parse_iso
from ostro.services.identity import ec2, oauth1, totp
from ostro.services.identity.oauth1 import Signed


@pytest.mark.parametrize(
    ("at_s", "passcode"), [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (20000000000, "353130")]
)
def test_passcodes_of_rfc_6238(at_s: int, passcode: str) -> None:
    secret = base64.b32encode(b"12345678901234567890").decode()
    assert totp.is_passcode(secret, passcode, at_s * 1_000_000)
    assert totp.is_passcode(secret, passcode, (at_s + 30) * 1_000_000), "the one before is good too"
    assert not totp.is_passcode(secret, passcode, (at_s + 60) * 1_000_000)
    assert not totp.is_passcode("not base32!", passcode, at_s * 1_000_000)


def test_the_example_of_oauth_core() -> None:
    fields = {
        "oauth_consumer_key": "dpf43f3p2l4k3l03",
        "oauth_token": "nnch734d00sl2jdk",
        "oauth_nonce": "kllo9940pd9333jh",
        "oauth_timestamp": "1191242096",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_version": "1.0",
        "realm": "not signed",
    }
    signed = Signed("get", "http://photos.example.net:80/photos", "file=vacation.jpg&size=original", fields)
    assert oauth1.sign(signed, "kd94hf93k423kf44", "pfkkdhi9sl3r4s00") == "tR3+Ty81lMeYAr/Fid0kMTYa/WM="
    with pytest.raises(Invalid):
        oauth1.sign(signed._replace(fields={"oauth_signature_method": "PLAINTEXT"}), "a", "b")


def test_an_oauth_header() -> None:
    assert oauth1.parse_authorization('OAuth realm="x", oauth_token="a%20b"') == {"realm": "x", "oauth_token": "a b"}
    with pytest.raises(Unauthenticated):
        oauth1.parse_authorization("Basic abc")


SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW_US = parse_iso("2015-08-30T12:40:00Z")
SCOPE = "20150830/us-east-1/service/aws4_request"
VANILLA = {
    "host": "example.amazonaws.com",
    "verb": "GET",
    "path": "/",
    "params": {},
    "body_hash": hashlib.sha256(b"").hexdigest(),
    "headers": {
        "Host": "example.amazonaws.com",
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{SCOPE}, SignedHeaders=host;x-amz-date, Signature=x",
    },
    "signature": "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
}


def test_the_vanilla_request_of_aws_signature_4() -> None:
    ec2.check_ec2(SECRET, VANILLA, NOW_US)
    for wrong in ({"path": "/other"}, {"signature": "0" * 64}, {"verb": "POST"}):
        with pytest.raises(Unauthenticated):
            ec2.check_ec2(SECRET, {**VANILLA, **wrong}, NOW_US)
    with pytest.raises(Unauthenticated):
        ec2.check_ec2("another", VANILLA, NOW_US)


@pytest.mark.parametrize("off_s", [-1200, 1000])
def test_an_old_signature_is_refused(off_s: int) -> None:
    """CVE-2020-12692: what was overheard is good for fifteen minutes only."""
    with pytest.raises(Unauthenticated):
        ec2.check_ec2(SECRET, VANILLA, NOW_US + off_s * 1_000_000)


def test_the_example_of_s3s_older_signature() -> None:
    """From Amazon's "Signing and authenticating REST requests"."""
    to_sign = b"GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg"
    given = {"token": base64.urlsafe_b64encode(to_sign).decode(), "signature": "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="}
    ec2.check_s3("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", given, NOW_US)
    with pytest.raises(Unauthenticated):
        ec2.check_s3("wrong", given, NOW_US)
