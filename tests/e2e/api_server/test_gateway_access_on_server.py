"""Who may run circuits, asked of a real API server with the chart's roles and real tokens.

The gateway has the rights of the chart's ClusterRole and no more; callers use the real client.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml
from kubernetes.aio import client, config

from kubeqpu.client import (
    AccessDeniedError,
    AsyncGatewayClient,
    NotFoundError,
    SamplerEntry,
    SamplerJob,
)
from kubeqpu.qpu_gateway.access import Pod, Verb
from kubeqpu.qpu_gateway.access.cluster import ClusterAccess
from kubeqpu.qpu_gateway.errors import PermissionDeniedError, UnauthenticatedError
from kubeqpu.qpu_gateway.qpus import load_factories
from kubeqpu.qpu_gateway.server import Gateway
from tests.cluster.errors import ClusterError
from tests.e2e.api_server.server import APIServer
from tests.integration.gateway_support import (
    Coins,
    InProcessInspector,
    coin_circuit,
    dump,
    make_settings,
)
from tools import chart

pytestmark = pytest.mark.usefixtures("definitions")

AUDIENCE = "kubeqpu.io/gateway"
GATEWAY = "kubeqpu-gateway-default"
ROLES = {"kubeqpu-user", "kubeqpu-admin", GATEWAY}
ACCEPTED_SECONDS = 1.0


@pytest.fixture(scope="module")
def roles(server: APIServer) -> Iterator[None]:
    """The chart's ClusterRoles, the gateway's account, and four namespaces."""
    rendered = yaml.safe_load_all(chart.render(chart.CHART / "ci" / "default-values.yaml"))
    found = [
        item for item in rendered
        if item and item["kind"] == "ClusterRole" and item["metadata"]["name"] in ROLES
    ]  # fmt: skip
    assert {item["metadata"]["name"] for item in found} == ROLES
    server.apply(*found)
    for namespace in ("gateways", "team-a", "team-b", "team-c"):
        server.make_namespace(namespace)
    server.kubectl("create", "clusterrolebinding", "gateway", f"--clusterrole={GATEWAY}",
                   "--serviceaccount=gateways:default")  # fmt: skip
    yield
    # Other modules install the chart, whose release cannot take over roles that it did not make.
    server.kubectl("delete", "clusterrolebinding", "gateway")
    server.kubectl("delete", "clusterrole", *sorted(ROLES))


def issue_token(server: APIServer, namespace: str, *options: str, audience: str = AUDIENCE) -> str:
    return server.kubectl(
        "create", "token", "default", f"--namespace={namespace}", f"--audience={audience}", *options
    ).strip()


def bind(server: APIServer, namespace: str, role: str = "--clusterrole=kubeqpu-user") -> None:
    server.kubectl("create", "rolebinding", "runs-circuits", role, f"--namespace={namespace}",
                   f"--serviceaccount={namespace}:default")  # fmt: skip


def unbind(server: APIServer, namespace: str) -> None:
    server.kubectl("delete", "rolebinding", "runs-circuits", f"--namespace={namespace}")


async def wait_refused(access: ClusterAccess, token: str) -> None:
    """Waits until a token does not count; the API server, too, remembers it for ten seconds."""
    deadline = time.monotonic() + 10 + ACCEPTED_SECONDS + 2
    while True:
        try:
            await access.identify(bearer(token))
        except UnauthenticatedError:
            return
        assert time.monotonic() < deadline, "the token still counts"
        await asyncio.sleep(0.2)


@asynccontextmanager
async def connect(server: APIServer) -> AsyncIterator[client.ApiClient]:
    """Connects as the gateway's ServiceAccount."""
    configuration = client.Configuration()
    await config.load_kube_config(
        config_file=str(server.cluster.kubeconfig), client_configuration=configuration
    )
    configuration.cert_file = configuration.key_file = None
    token = server.kubectl("create", "token", "default", "--namespace=gateways").strip()
    configuration.api_key = {"authorization": f"Bearer {token}"}
    async with client.ApiClient(configuration) as found:
        yield found


@pytest.fixture
async def access(server: APIServer, roles: None) -> AsyncIterator[ClusterAccess]:
    async with connect(server) as api_client:
        yield ClusterAccess(
            api_client, AUDIENCE, accepted_seconds=ACCEPTED_SECONDS, check_seconds=1.0
        )


@dataclass
class Door:
    """A gateway with TLS and two QPUs, penny and dime, and the files of its callers."""

    address: str
    folder: Path
    coins: Coins

    def client(self, token: str, name: str = "token") -> AsyncGatewayClient:
        path = self.folder / name
        path.write_text(token)
        ca_file = self.folder / "ca.crt"
        return AsyncGatewayClient(self.address, qpu="penny", token_file=path, ca_file=ca_file)


@pytest.fixture
async def door(access: ClusterAccess, tmp_path: Path) -> AsyncIterator[Door]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    issued.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    settings = make_settings(
        tmp_path,
        listen=("localhost:0",),
        tls={"certificate": tmp_path / "tls.crt", "key": tmp_path / "tls.key"},
        qpus=[{"name": name, "provider": "coin"} for name in ("penny", "dime")],
    )
    coins = Coins()
    factories = {**load_factories(), **coins.factories()}
    async with Gateway(settings, factories, InProcessInspector(), access) as gateway:
        yield Door(gateway.addresses[0], tmp_path, coins)


def toss(qpu: str | None = None, qpu_class: str | None = None) -> SamplerJob:
    entry = SamplerEntry(parameters=[[1.0]], shots=10)
    circuits = dump(coin_circuit())
    return SamplerJob(circuits=circuits, entries=[entry], qpu=qpu, qpu_class=qpu_class)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def test_a_bound_tenant_runs_circuits_and_another_sees_none(
    server: APIServer, door: Door
) -> None:
    bind(server, "team-a")
    try:
        async with (
            door.client(issue_token(server, "team-a")) as mine,
            door.client(issue_token(server, "team-b"), "other") as other,
        ):
            job = await mine.submit(toss())
            result = await job.result(timeout_seconds=30)
            assert sum(result.entries[0].counts.row(0).values()) == 10
            digest = (await mine.put_blob(b"secret")).digest
            assert await mine.get_blob(digest) == b"secret"
            # Everybody sees QPUs; nobody sees another tenant's jobs and blobs.
            assert {qpu.name for qpu in await other.qpus()} == {"penny", "dime"}
            for call in (other.record(job.id), other.cancel(job.id), other.get_blob(digest)):
                with pytest.raises(NotFoundError):
                    await call
            assert [record.id async for record in other.list_jobs()] == []
    finally:
        unbind(server, "team-a")


async def test_the_refusal_names_a_command_that_tells_the_same(
    server: APIServer, door: Door
) -> None:
    async with door.client(issue_token(server, "team-c")) as caller:
        for job in (toss(qpu="penny"), toss(qpu_class="standard")):
            with pytest.raises(AccessDeniedError, match="RoleBinding to ClusterRole") as refused:
                await caller.submit(job)
            command = str(refused.value).partition("with: kubectl ")[2].split()
            with pytest.raises(ClusterError, match="no"):
                server.kubectl(*command)
            bind(server, "team-c")
            try:
                assert server.kubectl(*command).strip() == "yes"
                await asyncio.sleep(2.1)  # refusals are remembered for two seconds
                await caller.submit(job)
            finally:
                unbind(server, "team-c")
            await asyncio.sleep(ACCEPTED_SECONDS + 0.1)


async def test_a_role_may_name_single_qpus(server: APIServer, door: Door) -> None:
    server.kubectl("create", "role", "dimes", "--verb=create,get", "--namespace=team-b",
                   "--resource=qpus.kubeqpu.io/jobs", "--resource-name=dime")  # fmt: skip
    bind(server, "team-b", "--role=dimes")
    try:
        async with door.client(issue_token(server, "team-b")) as caller:
            with pytest.raises(AccessDeniedError, match="on QPU penny"):
                await caller.submit(toss(qpu="penny"))
            job = await caller.submit(toss(qpu_class="standard"))
            assert job.record.qpu == "dime"
            with pytest.raises(AccessDeniedError, match="may not cancel jobs on QPU dime"):
                await job.cancel()
            assert [record.id async for record in caller.list_jobs()] == [job.id]
    finally:
        unbind(server, "team-b")


async def test_tokens_of_others_are_refused(server: APIServer, access: ClusterAccess) -> None:
    wrong = server.kubectl("create", "token", "default", "--namespace=team-a").strip()
    with pytest.raises(UnauthenticatedError, match=f"not for audience {AUDIENCE}"):
        await access.identify(bearer(wrong))
    good = issue_token(server, "team-a")
    head, _, signature = good.rpartition(".")
    forged = f"{head}.{signature[::-1]}"
    with pytest.raises(UnauthenticatedError, match="the API server does not accept it"):
        await access.identify(bearer(forged))
    both = issue_token(server, "team-a", "--audience=other")
    assert (await access.identify(bearer(both))).tenant == "team-a"


async def test_a_pods_token_tells_the_pod_and_ends_with_it(
    server: APIServer, access: ClusterAccess
) -> None:
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "main", "image": "example.invalid/x", "securityContext": restricted}
    server.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "caller", "namespace": "team-a"},
        "spec": {"containers": [container]},
    })  # fmt: skip
    uid = server.get("pod", "caller", "--namespace=team-a")["metadata"]["uid"]
    token = issue_token(server, "team-a", "--bound-object-kind=Pod", "--bound-object-name=caller")
    assert (await access.identify(bearer(token))).pod == Pod("caller", uid)
    server.kubectl("delete", "pod", "caller", "--namespace=team-a", "--now")
    await wait_refused(access, token)


async def test_a_deleted_account_is_nobody(server: APIServer, access: ClusterAccess) -> None:
    server.kubectl("create", "serviceaccount", "leaving", "--namespace=team-a")
    token = server.kubectl(
        "create", "token", "leaving", "--namespace=team-a", f"--audience={AUDIENCE}"
    ).strip()
    caller = await access.identify(bearer(token))
    assert caller.user == "system:serviceaccount:team-a:leaving"
    with pytest.raises(PermissionDeniedError, match="--as=system:serviceaccount:team-a:leaving"):
        await access.authorise(caller, Verb.CREATE, "penny")
    server.kubectl("delete", "serviceaccount", "leaving", "--namespace=team-a")
    await wait_refused(access, token)


@pytest.mark.timed
async def test_a_stream_ends_when_its_binding_is_deleted(server: APIServer, door: Door) -> None:
    bind(server, "team-a")
    door.coins.by_name["penny"].available.clear()
    async with door.client(issue_token(server, "team-a")) as caller:
        job = await caller.submit(toss())
        reading = asyncio.create_task(job.result(timeout_seconds=60))
        await asyncio.sleep(3)
        assert not reading.done()
        unbind(server, "team-a")
        start = time.monotonic()
        with pytest.raises(AccessDeniedError, match="may not read jobs"):
            await reading
        assert time.monotonic() - start < 10
