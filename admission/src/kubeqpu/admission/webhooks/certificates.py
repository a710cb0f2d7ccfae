"""The certificate that webhooks are served with, which may be renewed at any time."""

import ssl
from pathlib import Path

from kubeqpu.admission.errors import CertificateError

# Pods carry it in an annotation, of which the API server takes 256 KiB together.
MOST_AUTHORITY_BYTES = 128 * 1024

_Pair = tuple[bytes, bytes]


class Certificates:
    """A TLS context that follows the files of a mounted Secret.

    Connections that are open keep the certificate they began with; new ones get the new one.

    Args:
        folder: Where tls.crt and tls.key are, and ca.crt, which pods get.

    Attributes:
        context: Serves with the certificate that was loaded last.
        authority: The content of ca.crt; empty where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: _Pair | None = None
        self.context = _make_context()
        self.authority = ""

    def refresh(self) -> bool:
        """Loads what changed; tells whether something did.

        Raises:
            CertificateError: If a file cannot be read, or certificate and key are no pair; what
                was loaded before is still served.
        """
        # The kubelet renews a Secret by pointing a link to another folder, so that files read from
        # one folder belong together.
        folder = (self._folder / "tls.crt").resolve().parent
        certificate, key = folder / "tls.crt", folder / "tls.key"
        try:
            pair = certificate.read_bytes(), key.read_bytes()
            authority = _read_authority(folder / "ca.crt")
            changed = (pair, authority) != (self._loaded, self.authority)
            if pair != self._loaded:
                # Tried elsewhere first: half a pair would end every handshake.
                _make_context().load_cert_chain(certificate, key)
                self.context.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise CertificateError(
                f"The certificate in {self._folder} cannot be used: {error}. Expected tls.crt and "
                "tls.key in PEM that belong together, and ca.crt."
            ) from error
        self._loaded, self.authority = pair, authority
        return changed


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _read_authority(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    if len(content) > MOST_AUTHORITY_BYTES:
        raise ValueError(
            f"{path.name} has {len(content)} bytes, above the {MOST_AUTHORITY_BYTES} that pods can "
            "carry"
        )
    return content.decode("ascii")
