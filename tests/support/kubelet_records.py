"""What the kubelet stand-in tells of pods and registrations."""

from dataclasses import dataclass, field


class AdmissionFailedError(Exception):
    """What a pod's status says when the kubelet could not give it its devices."""


@dataclass(frozen=True)
class Pod:
    """A pod that got devices.

    Attributes:
        name: Its name.
        namespace: Its namespace.
        devices: IDs, by resource.
        env: What its container was given.
    """

    name: str
    namespace: str
    devices: dict[str, tuple[str, ...]]
    env: dict[str, str]


@dataclass
class Registered:
    """A registration that was asked for.

    Attributes:
        at: When, in monotonic seconds.
        resource: Extended resource.
        socket: Name of the plugin's socket.
        accepted: Whether the kubelet took it.
        others_alive: Streams of this resource that lived at that moment, by socket.
    """

    at: float
    resource: str
    socket: str
    accepted: bool
    others_alive: tuple[str, ...]


@dataclass
class Record:
    """What happened, for a test to judge."""

    registrations: list[Registered] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    shrunk: list[str] = field(default_factory=list)
    lists_answered: list[float] = field(default_factory=list)
    lists_refused: int = 0
    lists_amid_admissions: int = 0
