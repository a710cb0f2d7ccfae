"""What a node's programs are told: pure text, one function per file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import NODE_LEASE_SECONDS
from tests.cluster.network import Addresses

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CNI_PROGRAMS = "/usr/lib/cni"
CNI_CONFIGURATION = "/var/lib/cni/net.d"

# How often a kubelet reports its node. Kubernetes' default is 10 s; a figure that depends on it
# says with which it was measured.
STATUS_SECONDS = 2

# How often a kubelet looks at a pod for which nothing happened; its Secrets' and ConfigMaps' new
# content reaches its files only then. The default is a minute, which a webhook that makes its own
# certificate (Kueue's does) would spend waiting for it.
SYNC_SECONDS = 5


@dataclass(frozen=True)
class NodeConfig:
    """What tells one node from another.

    Attributes:
        name: the Node object's name.
        index: its number, from 1.
        addresses: the cluster's addresses.
        cgroup: the cgroup that its pods' cgroups are made in.
        pki: the folder of certificates and kubeconfigs.
        pause_image: the image that holds a pod's namespaces.
    """

    name: str
    index: int
    addresses: Addresses
    cgroup: str
    pki: Path
    pause_image: str


def containerd_toml(node: NodeConfig) -> str:
    """containerd's configuration."""
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{node.pause_image}"
# Without the right to lower it (CAP_SYS_RESOURCE) every sandbox would fail, and say only
# "can't get final child's PID from pipe: EOF".
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PROGRAMS}"
conf_dir = "{CNI_CONFIGURATION}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
"""


def cni_json(node: NodeConfig) -> str:
    """The pod network: each pod has a link of its own to its node, which routes.

    Routed links rather than a bridge: a pod's reply to its neighbour then passes the node, where
    kube-proxy's translation is undone, without the br_netfilter module.
    """
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": node.addresses.pods_of(node.index)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        # On a file system that ends with the node, so that no address outlives its pod.
        "dataDir": "/run/cni",
    }
    plugins: list[dict[str, Any]] = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    document = {"cniVersion": "0.4.0", "name": "kubeqpu", "plugins": plugins}
    return json.dumps(document, indent=2)


def kubelet_json(node: NodeConfig) -> str:
    """The kubelet's configuration."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(node.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(node.pki / f"{node.name}.crt"),
            "tlsPrivateKeyFile": str(node.pki / f"{node.name}.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": node.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "clusterDomain": "cluster.local",
            "clusterDNS": [node.addresses.dns],
            "resolvConf": "",  # a cluster of its own: the host's resolver is not passed on
            "podLogsDir": "/var/log/pods",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            "nodeStatusUpdateFrequency": f"{STATUS_SECONDS}s",
            "syncFrequency": f"{SYNC_SECONDS}s",
            "nodeLeaseDurationSeconds": NODE_LEASE_SECONDS,
            # Images come from files, not from a registry: never throw one away.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "200Mi",
                "imagefs.available": "200Mi",
                "nodefs.inodesFree": "100",
                "imagefs.inodesFree": "100",
            },
            "evictionPressureTransitionPeriod": "5s",
            "serializeImagePulls": False,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "shutdownGracePeriod": "0s",
        },
        indent=2,
    )


def kube_proxy_json(node: NodeConfig, kubeconfig: Path) -> str:
    """kube-proxy's configuration."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "mode": "iptables",
            "clusterCIDR": node.addresses.pods,
            "hostnameOverride": node.name,
            # The connection table's size belongs to the machine, not to a node on it.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        },
        indent=2,
    )
