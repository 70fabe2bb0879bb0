"""Certificates for servers on this machine, signed by an authority that nobody knows: for tests of TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import MissingDependencyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate for `localhost` and 127.0.0.1, and the authority that has signed it.

    Attributes:
        ca_bundle: The file with the authority's certificate, for those who are to trust the server.
        chain: The file with the server's certificate.
        key: The file with its private key.
    """

    ca_bundle: Path
    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return what a server needs to speak TLS with it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def make_certificate(folder: Path, valid_days: int = 1) -> ServerCertificate:
    """Make an authority and a certificate signed by it, as PEM files.

    Args:
        folder: Where the files go; it is made where missing.
        valid_days: How long from now; -1 makes a certificate that ended yesterday.

    Raises:
        MissingDependencyError: `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MissingDependencyError("Certificates need cryptography.", "pip install 'holdfast[testing]'") from None

    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    pem = serialization.Encoding.PEM
    made = ServerCertificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.ca_bundle.write_bytes(authority.public_bytes(pem))
    made.chain.write_bytes(_signed(authority, authority_key, key, valid_days).public_bytes(pem))
    made.key.touch(mode=0o600)
    made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return made


def _authority(key: EllipticCurvePrivateKey) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    builder = _described("Holdfast's authority for tests", "Holdfast's authority for tests", key, 1)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= {"encipher_only": False, "decipher_only": False}
    builder = builder.add_extension(
        x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
    )
    return builder.sign(key, hashes.SHA256())


def _signed(
    authority: Certificate, authority_key: EllipticCurvePrivateKey, key: EllipticCurvePrivateKey, valid_days: int
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = _described("localhost", "Holdfast's authority for tests", key, valid_days)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return builder.add_extension(known, critical=False).sign(authority_key, hashes.SHA256())


def _described(name: str, issuer: str, key: EllipticCurvePrivateKey, valid_days: int) -> CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    ends_at = datetime.datetime.now(datetime.UTC) + valid_days * _DAY
    builder = x509.CertificateBuilder(issuer_name=named(issuer), subject_name=named(name))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(ends_at - 30 * _DAY).not_valid_after(ends_at)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False)
