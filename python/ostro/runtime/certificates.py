"""X.509: keys, requests for certificates, and an authority that signs them. Plain functions; nothing here is kept anywhere.

Keys are P-256. A **host's** certificate names the host and serves it both ways, as client of the control plane and, for libvirt's migrations, as
server and client among hosts. A **controller's** bears, besides the names that API clients reach it by, ``CONTROLLER_NAME``, which agents insist
on wherever they connect to; no host gets a certificate with that name.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ostro.model.errors import Invalid

CONTROLLER_NAME = "controller.ostro"
HOSTS = "Ostro hosts"
CONTROLLERS = "Ostro controllers"
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
AUTHORITY_DAYS = 3650
EARLY = datetime.timedelta(hours=1)
"""Certificates are valid from a little before they are made: clocks differ."""
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate: PEM, its serial number in lower-case hexadecimal digits, and the end of its time."""

    pem: str
    serial: str
    expires_at_us: int


def check_host_name(name: str) -> None:
    """Raise Invalid for what can't be a host's name."""
    if not HOST_NAME.fullmatch(name) or name.lower() == CONTROLLER_NAME:
        raise Invalid(f"{name!r} can't be the name of a host.")


def same_host_name(one: str, other: str) -> bool:
    """Whether two names mean one host: upper and lower case are the same, as where TLS compares the names in certificates."""
    return one.lower() == other.lower()


def new_key() -> Key:
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> str:
    """A private key as text, not encrypted."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def read_key(pem: str) -> Key:
    """The key of `key_pem`. Raises ValueError."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    return key


def make_request(key: Key, name: str) -> str:
    """A request for a certificate of the key."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(HOSTS, name)).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(cert_pem: str) -> str:
    """What a certificate is known by: the SHA-256 of its DER, in hexadecimal digits."""
    return x509.load_pem_x509_certificate(cert_pem.encode()).fingerprint(hashes.SHA256()).hex()


def lifetime_us(cert_pem: str) -> tuple[int, int]:
    """When the certificate was made, and when it ends to be valid."""
    cert = x509.load_pem_x509_certificate(cert_pem.encode())
    return _us(cert.not_valid_before_utc + EARLY), _us(cert.not_valid_after_utc)


def serves_libvirt(cert_pem: str) -> bool:
    """Whether libvirt and QEMU take the certificate: those that were made before they were asked for may lack a usage."""
    cert = x509.load_pem_x509_certificate(cert_pem.encode())
    return cert.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


class Authority:
    """Signs certificates."""

    def __init__(self, cert_pem: str, key: Key) -> None:
        self.cert_pem = cert_pem
        self._cert = x509.load_pem_x509_certificate(cert_pem.encode())
        self._key = key

    @classmethod
    def make(cls, name: str, now_us: int) -> Authority:
        """A new authority with a key of its own."""
        key = new_key()
        subject = _name("Ostro", name)
        builder = _builder(subject, key.public_key(), now_us, AUTHORITY_DAYS * 86_400).issuer_name(subject)
        usage = _usage(signs=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        cert = builder.sign(key, hashes.SHA256())
        return cls(cert.public_bytes(serialization.Encoding.PEM).decode(), key)

    @property
    def key_pem(self) -> str:
        """The secret."""
        return key_pem(self._key)

    def sign_host(self, request_pem: str, name: str, now_us: int, lifetime_s: float) -> tuple[Issued, str]:
        """A host's certificate and the digest of its key. Of the request only the key counts. Raises Invalid."""
        check_host_name(name)
        try:
            request = x509.load_pem_x509_csr(request_pem.encode())
            if not request.is_signature_valid:
                raise ValueError("it isn't signed by its key")
        except (ValueError, InvalidSignature) as error:
            raise Invalid("That is no request for a certificate.", detail=str(error)) from error
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Invalid("The key of a host must be on an elliptic curve.")
        issued = self._sign(_name(HOSTS, name), key, [x509.DNSName(name)], now_us, lifetime_s)
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return issued, hashlib.sha256(der).hexdigest()

    def sign_controller(self, key: Key, names: Sequence[str], now_us: int, lifetime_s: float) -> Issued:
        """A controller's certificate, also for these names and addresses."""
        kept = [_general(name) for name in dict.fromkeys([CONTROLLER_NAME, *names])]
        return self._sign(_name(CONTROLLERS, CONTROLLER_NAME), key.public_key(), kept, now_us, lifetime_s)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName],
        now_us: int,
        lifetime_s: float,
    ) -> Issued:
        builder = _builder(subject, key, now_us, lifetime_s).issuer_name(self._cert.subject)
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName(names), False),
            (x509.ExtendedKeyUsage(BOTH), False),
            (_usage(signs=False), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        cert = builder.sign(self._key, hashes.SHA256())
        pem = cert.public_bytes(serialization.Encoding.PEM).decode()
        return Issued(pem, f"{cert.serial_number:x}", _us(cert.not_valid_after_utc))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        # It means nothing of a key on a curve, but libvirt and QEMU refuse a server without it.
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _name(organization: str, name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now_us: int, lifetime_s: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key).serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.not_valid_before(now - EARLY).not_valid_after(now + datetime.timedelta(seconds=lifetime_s))


def _us(time: datetime.datetime) -> int:
    return int(time.timestamp() * 1_000_000)
