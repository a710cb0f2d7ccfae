"""The connection to the API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog
from kubernetes.aio import client, config

from kubeqpu.kube.errors import NoClusterError

_LOG = structlog.get_logger(__name__)


@asynccontextmanager
async def open_api_client() -> AsyncIterator[client.ApiClient]:
    """Opens a client as the pod's ServiceAccount, or outside a cluster as KUBECONFIG says.

    A ServiceAccount's token is read again before it expires.

    Raises:
        NoClusterError: If neither is there.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException as outside:
        try:
            await config.load_kube_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise NoClusterError(
                f"This is no pod of a cluster ({outside}) and there is no kubeconfig ({error}); "
                "run in a pod, or set KUBECONFIG."
            ) from error
    spare_lookups(configuration)
    async with client.ApiClient(configuration) as api_client:
        _LOG.info("Cluster connected", server=configuration.host)
        yield api_client


def spare_lookups(configuration: client.Configuration) -> None:
    """Looks once whether the environment names a proxy for the API server.

    The client would do so for every request, and read `~/.netrc` as well, each in a thread of its
    own: two thirds of the CPU time that a request takes.
    """
    server = urlsplit(configuration.host)
    if server.scheme not in getproxies() or proxy_bypass(server.hostname or ""):
        configuration.client_session_kwargs = {"trust_env": False}
