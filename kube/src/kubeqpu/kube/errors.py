"""What can go wrong between a component and the API server."""

GONE, NOT_FOUND, CONFLICT = 410, 404, 409


class KubeError(Exception):
    """Base of the errors of this package."""


class NoClusterError(KubeError):
    """There is neither a pod's ServiceAccount nor a kubeconfig."""


class APIServerError(KubeError):
    """A request to the API server failed.

    Attributes:
        status: The HTTP status; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
