"""How a client proves who it is, and how it knows the gateway: a token and an authority, in files.

A token leaves this process over TLS only, to a gateway whose certificate the authority signed.
"""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from kubeqpu.client import errors
from kubeqpu.client.settings import ClientSettings
from kubeqpu.common import names

FilePath: TypeAlias = str | os.PathLike[str]
_Version: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Credentials:
    """What a connection over TLS needs.

    Attributes:
        authority: Certificates of who may vouch for the gateway, PEM.
        token: The caller's token, or None for a caller that has none.
    """

    authority: bytes
    token: "TokenFile | None" = None

    def for_channel(self) -> grpc.ChannelCredentials:
        """Gives what gRPC opens a channel with."""
        secure = grpc.ssl_channel_credentials(self.authority)
        if self.token is None:
            return secure
        call = grpc.metadata_call_credentials(_TokenPlugin(self.token), name="kubeqpu-token")
        return grpc.composite_channel_credentials(secure, call)


class TokenFile:
    """A token in a file that the kubelet replaces before it ends; read again when it changed.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[_Version, str] | None = None

    def version(self) -> _Version | None:
        """Tells one version of the file from the next; None while it cannot be read."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> str:
        """Gives the token.

        Raises:
            AccessDeniedError: If the file cannot be read or holds none.
        """
        version, known = self.version(), self._known
        if known is not None and known[0] == version:
            return known[1]
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise errors.AccessDeniedError(
                f"Token file {self._path} cannot be read ({reason}); mount a projected "
                f"ServiceAccount token with audience {names.AUDIENCE} there, or name another file "
                f"with `token_file` or {names.ENV_TOKEN_FILE}."
            ) from None
        if not text or not text.isprintable() or " " in text:
            raise errors.AccessDeniedError(
                f"Token file {self._path} holds no token; expected one line with a ServiceAccount "
                f"token of audience {names.AUDIENCE}."
            )
        if version is not None:
            self._known = (version, text)
        return text


class _TokenPlugin(grpc.AuthMetadataPlugin):
    """Adds the token to every call; gRPC asks from threads of its own."""

    def __init__(self, token: TokenFile) -> None:
        self._token = token

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        try:
            metadata = (("authorization", f"Bearer {self._token.read()}"),)
        except errors.AccessDeniedError as error:
            callback((), error)
        else:
            callback(metadata, None)


def find_credentials(
    address: str,
    token_file: FilePath | None,
    ca_file: FilePath | None,
    settings: ClientSettings,
) -> Credentials | None:
    """Decides how to speak to a gateway: over TLS, or plainly with one on this machine.

    Args:
        address: Its address, checked.
        token_file: File with the caller's token; None takes the environment's.
        ca_file: File with the gateway's authority; None takes the environment's.
        settings: The environment.

    Returns:
        The credentials, or None for plain text.

    Raises:
        InvalidRequestError: If TLS is needed and no authority is known or readable, or if a token
            was named that could only be sent in plain text.
        AccessDeniedError: If the token cannot be read.
    """
    wanted = Path(ca_file) if ca_file is not None else settings.ca_file
    if is_local(address):
        if address.startswith("unix:") or wanted is None:
            _refuse_in_plain_text(address, token_file, ca_file)
            return None
    elif wanted is None:
        wanted = settings.mounted_ca_file
    if wanted is None:
        raise errors.InvalidRequestError(
            f"The gateway at {address} is not on this machine, so it is spoken to over TLS, and "
            "no authority is known that could vouch for it; name the file with `ca_file` or "
            f"{names.ENV_CA_FILE}, or mount it at {names.CA_FILE}."
        )
    path = Path(token_file) if token_file is not None else settings.token_file
    token = None if path is None else TokenFile(path)
    if token is not None:
        token.read()
    return Credentials(_read_authority(wanted), token)


def is_local(address: str) -> bool:
    """Tells whether an address can only lead to this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_in_plain_text(
    address: str,
    token_file: FilePath | None,
    ca_file: FilePath | None,
) -> None:
    if ca_file is not None:
        raise errors.InvalidRequestError(
            f"There is no TLS on unix sockets; leave out `ca_file`, or name {address} differently."
        )
    if token_file is not None:
        raise errors.InvalidRequestError(
            f"The gateway at {address} would be spoken to in plain text, in which no token is "
            "sent; leave out `token_file`, or name the gateway's authority with `ca_file`."
        )


def _read_authority(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.InvalidRequestError(
            f"Authority file {path} cannot be read ({error.strerror}); name a PEM file with "
            f"`ca_file` or {names.ENV_CA_FILE}."
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise errors.InvalidRequestError(
            f"Authority file {path} holds no certificate; expected PEM, with a line "
            "-----BEGIN CERTIFICATE-----."
        )
    return content
