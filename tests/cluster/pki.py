"""The cluster's own certificate authority, certificates and kubeconfigs."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.layout import Layout
from tests.cluster.state import write

LIFETIME = datetime.timedelta(days=365)
FRONT_PROXY = "front-proxy-client"
AUTHORITY = "ca"


@dataclass(frozen=True)
class Identity:
    """Somebody the cluster knows, and the names and addresses it serves at."""

    user: str
    groups: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A private key as text."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A public key as text."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def subject(identity: Identity) -> x509.Name:
    """Kubernetes reads the user from the common name and groups from organisations."""
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
    return x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, identity.user)])


def alternative_names(serves: Sequence[str]) -> x509.SubjectAlternativeName:
    """Addresses as addresses, everything else as DNS names."""
    names: list[x509.GeneralName] = []
    for name in serves:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            names.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(names)


def builder(name: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    """What every certificate here has in common."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


class Authority:
    """Signs the cluster's certificates; made once, then read from the cluster's folder."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        if not self.certificate_path.exists():
            self._create()
        key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())

    @property
    def certificate_path(self) -> Path:
        """The authority's certificate."""
        return self.layout.pki / f"{AUTHORITY}.crt"

    @property
    def key_path(self) -> Path:
        """The authority's key."""
        return self.layout.pki / f"{AUTHORITY}.key"

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = subject(Identity(f"kubeqpu test cluster {self.layout.name}"))
        certificate = (
            builder(name, name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        # The certificate last: it is what says that both are there.
        write(self.key_path, key_pem(key), 0o600)
        write(self.certificate_path, certificate.public_bytes(serialization.Encoding.PEM).decode())

    def issue(self, name: str, identity: Identity) -> tuple[Path, Path]:
        """A certificate and its key, for both ends of TLS; made once per name.

        Returns:
            The certificate's path and the key's.
        """
        certificate_path = self.layout.pki / f"{name}.crt"
        key_path = self.layout.pki / f"{name}.key"
        if certificate_path.exists():
            return certificate_path, key_path
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        request = builder(subject(identity), self._certificate.subject)
        if identity.serves:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            request = request.add_extension(alternative_names(identity.serves), critical=False)
        certificate = (
            request.public_key(key.public_key())
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write(key_path, key_pem(key), 0o600)
        write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM).decode())
        return certificate_path, key_path

    def signing_key(self, name: str) -> tuple[Path, Path]:
        """A bare key pair, such as the one that signs ServiceAccount tokens.

        Returns:
            The public key's path and the private key's.
        """
        public, private = self.layout.pki / f"{name}.pub", self.layout.pki / f"{name}.key"
        if not public.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write(private, key_pem(key), 0o600)
            write(public, public_pem(key))
        return public, private

    def kubeconfig(self, path: Path, server: str, name: str, identity: Identity) -> None:
        """Write a kubeconfig that holds its certificates in itself, so that it can travel."""
        certificate, key = self.issue(name, identity)
        text = kubeconfig_text(
            server, self.layout.name, identity.user,
            self.certificate_path.read_bytes(), certificate.read_bytes(), key.read_bytes(),
        )  # fmt: skip
        if not path.exists() or path.read_text() != text:
            write(path, text, 0o600)


def kubeconfig_text(
    server: str, cluster: str, user: str, authority: bytes, certificate: bytes, key: bytes
) -> str:
    """A kubeconfig. JSON is YAML."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": encoded(authority)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": encoded(certificate),
                    "client-key-data": encoded(key),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
    }
    return json.dumps(document, indent=2) + "\n"
