"""The chart's values of the scheduler."""

from pydantic import Field

from tools.values_parts import Component, Fragment, Image, Section, make_resources


class StockImage(Image):
    """Where the stock kube-scheduler comes from."""

    registry: str = "registry.k8s.io"
    """Its registry, apart from `image.registry`; a mirror of yours where nodes reach no other."""
    repository: str = "kube-scheduler"
    """Path of the image below the registry."""
    tag: str = ""
    """Its version; empty: the cluster's own."""


class Extender(Section):
    """The extender, which knows the QPUs, beside each scheduler."""

    image: Image = Image(repository="kubeqpu/scheduler-extender")
    """Its image."""
    resources: Fragment = Field(
        default_factory=lambda: make_resources(cpu="100m", memory="128Mi", limit="512Mi")
    )
    """Resources of its container."""


class Scheduler(Component):
    """The scheduler `kubeqpu-scheduler`: a stock kube-scheduler that asks the extender."""

    enabled: bool = True
    """Whether to run it. Without it, pods that ask for slots are placed on any node with one."""
    image: StockImage = StockImage()
    """Its image."""
    replicas: int = Field(default=2, ge=1, le=5)
    """Pods of the scheduler, of which one schedules at a time."""
    extra_args: tuple[str, ...] = ()
    """More flags of the kube-scheduler, such as --v=4."""
    resources: Fragment = Field(
        default_factory=lambda: make_resources(cpu="100m", memory="128Mi", limit="1Gi")
    )
    """Resources of the kube-scheduler's container."""
    extender: Extender = Extender()
    """The extender, which knows the QPUs, beside each scheduler."""
