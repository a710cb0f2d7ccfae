"""The control plane: etcd, API server, controller manager and scheduler, on the host."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from tests.cluster import cgroups, processes
from tests.cluster.layout import Layout
from tests.cluster.network import Addresses
from tests.cluster.pki import AUTHORITY, FRONT_PROXY, Authority, Identity
from tests.cluster.shell import wait_until
from tests.cluster.state import ClusterState

LOOPBACK = "127.0.0.1"
ETCD, API_SERVER = "etcd", "kube-apiserver"
CONTROLLER_MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
KUBE_PROXY = "kube-proxy"
SERVERS = (ETCD, "etcd-peer", API_SERVER, CONTROLLER_MANAGER, SCHEDULER)
PROCESSES = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER)
ADMINISTRATOR = Identity("kubernetes-admin", ("system:masters",))

# A node counts as lost after this long. The default, 50 s, would make every test of a lost node
# a minute long; less than this and a busy two-core machine loses nodes that are alive.
NODE_GRACE_SECONDS = 20
NODE_LEASE_SECONDS = 20


@dataclass(frozen=True)
class ControlPlane:
    """Where a control plane listens, and its commands."""

    layout: Layout
    state: ClusterState

    @property
    def address(self) -> str:
        """Where the API server listens: on the bridge if there are nodes, which pods reach."""
        return LOOPBACK if self.state.octet is None else Addresses(self.state.octet).host

    @property
    def services(self) -> str:
        """The services' network; without nodes nothing has a route there, so any will do."""
        return "10.96.0.0/16" if self.state.octet is None else Addresses(self.state.octet).services

    @property
    def url(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.state.ports[API_SERVER]}"

    def server_addresses(self) -> dict[str, str]:
        """The address that each server needs a free port at."""
        return {server: self.address if server == API_SERVER else LOOPBACK for server in SERVERS}

    def host_cgroups(self) -> list[Path]:
        """The cgroup of what runs beside the nodes, by which ``down`` finds it without records.

        A control plane alone has none: it may run without the right to make one.
        """
        if self.state.octet is None:
            return []
        group = cgroups.of_cluster(self.state.octet).child("host")
        cgroups.make(group)
        return [group.tracking]

    def program(self, name: str) -> str:
        """The path of a program."""
        return str(self.layout.bin / name)

    def credential(self, name: str) -> str:
        """The path of a file made by the certificate authority."""
        return str(self.layout.pki / name)

    def write_credentials(self) -> None:
        """Make the certificates, keys and kubeconfigs."""
        authority = Authority(self.layout)
        first_service = self.services.rsplit(".", 1)[0] + ".1"
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc",
                 "kubernetes.default.svc.cluster.local", "localhost")  # fmt: skip
        serving = Identity(API_SERVER, serves=(*names, LOOPBACK, self.address, first_service))
        authority.issue(API_SERVER, serving)
        authority.issue("kubelet-client", Identity("apiserver-to-kubelet", ("system:masters",)))
        authority.issue(FRONT_PROXY, Identity(FRONT_PROXY))
        authority.signing_key("service-account")
        authority.kubeconfig(self.layout.kubeconfig, self.url, "admin", ADMINISTRATOR)
        # kube-proxy's is one for all nodes, which start at the same time: made here, once.
        for component in (CONTROLLER_MANAGER, SCHEDULER, KUBE_PROXY):
            path = self.layout.kubeconfig_of(component)
            authority.kubeconfig(path, self.url, component, Identity(f"system:{component}"))

    def etcd(self) -> list[str]:
        """The command that runs etcd, as fast and as forgetful as a test may have it."""
        client = f"http://{LOOPBACK}:{self.state.ports[ETCD]}"
        peer = f"http://{LOOPBACK}:{self.state.ports['etcd-peer']}"
        return [
            self.program(ETCD), "--name=etcd", f"--data-dir={self.layout.data('etcd')}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=etcd={peer}", "--unsafe-no-fsync", "--log-level=warn",
        ]  # fmt: skip

    def api_server(self) -> list[str]:
        """The command that runs the API server."""
        authority = self.credential(f"{AUTHORITY}.crt")
        certificate = self.credential
        return [
            self.program(API_SERVER),
            f"--etcd-servers=http://{LOOPBACK}:{self.state.ports[ETCD]}",
            f"--bind-address={self.address}", f"--advertise-address={self.address}",
            f"--secure-port={self.state.ports[API_SERVER]}",
            f"--service-cluster-ip-range={self.services}",
            f"--client-ca-file={authority}",
            f"--tls-cert-file={certificate(f'{API_SERVER}.crt')}",
            f"--tls-private-key-file={certificate(f'{API_SERVER}.key')}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={certificate('service-account.pub')}",
            f"--service-account-signing-key-file={certificate('service-account.key')}",
            f"--kubelet-certificate-authority={authority}",
            f"--kubelet-client-certificate={certificate('kubelet-client.crt')}",
            f"--kubelet-client-key={certificate('kubelet-client.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            # The same authority signs ordinary users, so the front proxy is told by its name.
            f"--requestheader-client-ca-file={authority}",
            f"--requestheader-allowed-names={FRONT_PROXY}",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={certificate(f'{FRONT_PROXY}.crt')}",
            f"--proxy-client-key-file={certificate(f'{FRONT_PROXY}.key')}",
            # Webhooks are called at their pods' addresses: the host needs no kube-proxy.
            "--enable-aggregator-routing=true",
            "--allow-privileged=true", "--profiling=false",
            # Ending is quick, so that a test can restart it.
            "--shutdown-delay-duration=0s",
        ]  # fmt: skip

    def controller_manager(self) -> list[str]:
        """The command that runs the controller manager."""
        kubeconfig = self.layout.kubeconfig_of(CONTROLLER_MANAGER)
        return [
            self.program(CONTROLLER_MANAGER), f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.state.ports[CONTROLLER_MANAGER]}",
            "--leader-elect=false", "--use-service-account-credentials=true",
            f"--root-ca-file={self.credential(f'{AUTHORITY}.crt')}",
            f"--service-account-private-key-file={self.credential('service-account.key')}",
            f"--cluster-signing-cert-file={self.credential(f'{AUTHORITY}.crt')}",
            f"--cluster-signing-key-file={self.credential(f'{AUTHORITY}.key')}",
            f"--service-cluster-ip-range={self.services}",
            # Pods get their addresses from their node's CNI configuration.
            "--allocate-node-cidrs=false",
            f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s", "--node-monitor-period=2s",
            "--kube-api-qps=100", "--kube-api-burst=200",
        ]  # fmt: skip

    def scheduler(self) -> list[str]:
        """The command that runs the scheduler."""
        kubeconfig = self.layout.kubeconfig_of(SCHEDULER)
        return [
            self.program(SCHEDULER), f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}", f"--secure-port={self.state.ports[SCHEDULER]}",
            "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400",
        ]  # fmt: skip

    def start(self) -> None:
        """Start what does not run, and wait until it is ready."""
        self.write_credentials()
        self._start(ETCD, self.etcd(), self._http("http", ETCD, "/health"))
        self._start(API_SERVER, self.api_server(), self.ready)
        waiting = [
            self._spawn(CONTROLLER_MANAGER, self.controller_manager()),
            self._spawn(SCHEDULER, self.scheduler()),
        ]
        for name in waiting:
            self._await(name, self._http("https", name, "/healthz"))

    def ready(self) -> bool:
        """Whether the API server says it is ready."""
        return answers(f"{self.url}/readyz", self.layout)

    def _spawn(self, name: str, command: list[str]) -> str:
        processes.start(self.layout, name, command, cgroups=self.host_cgroups())
        return name

    def _start(self, name: str, command: list[str], healthy: Callable[[], bool]) -> None:
        self._spawn(name, command)
        self._await(name, healthy)

    def _await(self, name: str, healthy: Callable[[], bool]) -> None:
        wait_until(
            healthy, f"{name} to be ready", seconds=90, still_alive=death_of(self.layout, name)
        )

    def _http(self, scheme: str, server: str, path: str) -> Callable[[], bool]:
        url = f"{scheme}://{LOOPBACK}:{self.state.ports[server]}{path}"
        return lambda: answers(url, self.layout)


def death_of(layout: Layout, name: str) -> Callable[[], str | None]:
    """Asks whether a process has ended, and if so says what it said last."""

    def question() -> str | None:
        if processes.find(layout, name):
            return None
        return f"{name} ended:\n{processes.tail(layout, name)}"

    return question


def answers(url: str, layout: Layout) -> bool:
    """Whether a server answers 200, asked as the administrator."""
    try:
        read(url, layout, seconds=2)
    except (URLError, OSError):
        return False
    return True


def read(url: str, layout: Layout, *, seconds: float = 10) -> bytes:
    """What a server answers to a GET by the administrator.

    Its certificate is not verified: the controller manager and the scheduler sign their own.

    Raises:
        URLError: it answered nothing, or not 200.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    certificate = Path(layout.pki / "admin.crt")
    if certificate.exists():
        context.load_cert_chain(certificate, layout.pki / "admin.key")
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    with urllib.request.build_opener(*handlers).open(url, timeout=seconds) as reply:
        body: bytes = reply.read()
        return body
