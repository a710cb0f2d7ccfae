"""The gateway's certificate, read again whenever its files change."""

import os
import ssl
import threading

import grpc
import structlog

from kubeqpu.qpu_gateway.settings import ConfigurationError, TLSSettings

_LOG = structlog.get_logger(__name__)

_Version = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate and its key in two files that something else renews.

    A pair that cannot be used, such as one that is half written, changes nothing: what was served
    before is served on.

    Args:
        settings: Where the files are.

    Raises:
        ConfigurationError: If the files cannot be read, or the key is another certificate's.
    """

    def __init__(self, settings: TLSSettings) -> None:
        self._settings = settings
        # Handshakes ask from threads of gRPC's own.
        self._lock = threading.Lock()
        self._version = self._read_version()
        self._served = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Gives credentials that follow the files; every handshake looks for a newer pair."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._served),
            self._fetch,  # type: ignore[arg-type] # None, for no change, is not in the stubs
            require_client_authentication=False,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            try:
                version = self._read_version()
                if version == self._version:
                    return None
                pair = self._read()
            except ConfigurationError as error:
                _LOG.warning("Certificate not replaced", reason=str(error))
                return None
            self._version = version
            if pair == self._served:
                return None
            self._served = pair
            _LOG.info("Certificate replaced", file=str(self._settings.certificate))
            return _configuration(pair)

    def _read_version(self) -> _Version:
        try:
            found = [os.stat(path) for path in (self._settings.certificate, self._settings.key)]
        except OSError as error:
            raise self._unusable(error) from error
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)

    def _read(self) -> tuple[bytes, bytes]:
        certificate, key = self._settings.certificate, self._settings.key
        try:
            pair = certificate.read_bytes(), key.read_bytes()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except OSError as error:  # of which SSLError is one
            raise self._unusable(error) from error
        return pair

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"Certificate {self._settings.certificate} with key {self._settings.key} cannot be "
            f"used ({error.strerror or error}); name a PEM certificate and its own key."
        )


def _configuration(pair: tuple[bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    certificate, key = pair
    return grpc.ssl_server_certificate_configuration([(key, certificate)])
