"""The connection to the API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    async with client.ApiClient(configuration) as api_client:
        _LOG.info("Cluster connected", server=configuration.host)
        yield api_client
