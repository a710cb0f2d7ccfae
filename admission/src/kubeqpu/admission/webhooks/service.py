"""The webhooks: watches, certificate, server and probes together."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, closing

import structlog
from prometheus_client import CollectorRegistry

from kubeqpu.admission.catalogue import Catalogue
from kubeqpu.admission.errors import CertificateError
from kubeqpu.admission.settings import WebhookSettings
from kubeqpu.admission.webhooks.certificates import Certificates
from kubeqpu.admission.webhooks.judge import Judge
from kubeqpu.admission.webhooks.server import Server
from kubeqpu.admission.webhooks.telemetry import Telemetry
from kubeqpu.common.metrics import MetricsServer
from kubeqpu.common.serve import until_stopped
from kubeqpu.kube.connection import open_api_client
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.probes import find_nothing, serve_probes

_LOG = structlog.get_logger(__name__)
_FIELD_MANAGER = "kubeqpu-webhooks"


async def run_webhooks(settings: WebhookSettings) -> None:
    """Answers until SIGTERM or SIGINT, and a while longer for those who have not heard of it.

    Raises:
        NoClusterError: If there is no API server to connect to.
        CertificateError: If there is no certificate to serve with.
        OSError: If a port is taken.
    """
    certificates = Certificates(settings.tls_folder)
    certificates.refresh()
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        api_client = await stack.enter_async_context(open_api_client())
        catalogue = Catalogue(ObjectsAPI(api_client, _FIELD_MANAGER))
        judge = Judge(catalogue, lambda: certificates.authority, settings.scheduler_name)

        def find_fault() -> str:
            complete = catalogue.is_complete()
            return "" if complete else "QPUClasses, QPUs and QPUQuotas are not listed yet."

        def find_probed_fault() -> str:
            return "It was told to stop." if stopping.is_set() else find_fault()

        telemetry.follow(
            catalogue.is_complete,
            lambda: len(catalogue.classes),
            lambda: len(catalogue.offers),
        )
        metrics = MetricsServer(registry, settings.metrics_address, settings.metrics_port)
        stack.enter_context(closing(metrics))
        await stack.enter_async_context(
            _running(catalogue.run(), _follow(certificates, settings.reload_seconds, telemetry))
        )
        server = Server(judge, find_fault, telemetry)
        port = await stack.enter_async_context(
            server.serve(certificates.context, settings.address, settings.port)
        )
        probes = serve_probes(
            {"/healthz": find_nothing, "/readyz": find_probed_fault},
            settings.health_address,
            settings.health_port,
        )
        health_port = await stack.enter_async_context(probes)
        _LOG.info("Webhooks started", port=port, health_port=health_port, metrics_port=metrics.port)
        await until_stopped()
        stopping.set()
        _LOG.info("Webhooks draining", seconds=settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
    _LOG.info("Webhooks stopped")


async def _follow(certificates: Certificates, seconds: float, telemetry: Telemetry) -> None:
    """Loads certificates that were renewed; a failure is logged once, until it is another."""
    failure = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            changed = certificates.refresh()
        except CertificateError as error:
            if str(error) != failure:
                telemetry.count_load(False)
                _LOG.warning("Certificate not loaded", reason=str(error))
            failure = str(error)
            continue
        failure = ""
        if changed:
            telemetry.count_load(True)
            _LOG.info("Certificate loaded", has_authority=bool(certificates.authority))


@asynccontextmanager
async def _running(*coroutines: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
