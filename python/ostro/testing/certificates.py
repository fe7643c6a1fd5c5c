"""Certificates for servers of tests."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(folder: Path, *, address: str = "") -> tuple[Path, Path]:
    """A certificate that signs itself, for localhost or for an address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    subject = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName("localhost")
    now = datetime.datetime(2020, 1, 1)  # noqa: DTZ001 - the library takes UTC without saying so
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now)
    built = built.not_valid_after(now + datetime.timedelta(days=36_500))
    built = built.add_extension(x509.SubjectAlternativeName([subject]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret
