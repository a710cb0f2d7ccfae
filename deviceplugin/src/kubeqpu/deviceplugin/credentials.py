"""How the device plugin proves who it is, and how it knows gateways: a token and an authority."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from kubeqpu.common import names
from kubeqpu.deviceplugin.errors import CredentialsError


@dataclass(frozen=True)
class CredentialFiles:
    """The files that the kubelet mounts and renews; they are read for every stream anew.

    Attributes:
        token_file: File with a projected ServiceAccount token.
        ca_file: File with the gateways' authority, PEM.
    """

    token_file: Path
    ca_file: Path

    def read_authority(self) -> grpc.ChannelCredentials:
        """Gives what a channel to a gateway is opened with.

        Raises:
            CredentialsError: If the authority cannot be read.
        """
        try:
            authority = self.ca_file.read_bytes()
        except OSError as error:
            raise CredentialsError(
                f"Authority file {self.ca_file} cannot be read ({error.strerror}); expected the "
                "PEM certificate that signs the gateways' certificates, from a ConfigMap."
            ) from error
        if b"-----BEGIN CERTIFICATE-----" not in authority:
            raise CredentialsError(
                f"Authority file {self.ca_file} holds no certificate; expected PEM, with a line "
                "-----BEGIN CERTIFICATE-----."
            )
        return grpc.ssl_channel_credentials(authority)

    def read_token(self) -> str:
        """Gives the token.

        Raises:
            CredentialsError: If it cannot be read.
        """
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise CredentialsError(
                f"Token file {self.token_file} cannot be read ({reason}); expected a projected "
                f"ServiceAccount token with audience {names.AUDIENCE}."
            ) from None
        if not token or not token.isprintable() or " " in token:
            raise CredentialsError(
                f"Token file {self.token_file} holds no token; expected one line with a "
                f"ServiceAccount token of audience {names.AUDIENCE}."
            )
        return token
