"""Everything the gateway refuses or fails at.

Each message says what happened, what was expected, and what to do; `interceptor` maps the classes
to gRPC status codes in one place.
"""


class GatewayError(Exception):
    """Base of the gateway's errors."""


class InvalidRequestError(GatewayError):
    """The request is malformed or contradicts itself; sending it again will not help."""


class CircuitError(InvalidRequestError):
    """The circuits cannot be loaded or cannot run."""


class UnsupportedOptionError(InvalidRequestError):
    """An option is set that the QPU's provider lacks."""


class NotFoundError(GatewayError):
    """The named object does not exist, or belongs to another tenant."""


class ConflictError(GatewayError):
    """An idempotency key was used again for a different job."""


class ResourceExhaustedError(GatewayError):
    """A size, count or disk limit is reached."""


class UnauthenticatedError(GatewayError):
    """Nobody vouches for the caller."""


class PermissionDeniedError(GatewayError):
    """The caller is known and may not do this."""


class ClusterUnavailableError(GatewayError):
    """The API server does not answer, so it is not known who calls or what they may do."""


class StoreUnavailableError(GatewayError):
    """The database is away, or another gateway has it; what was acknowledged is kept."""


class StoreTakenOverError(StoreUnavailableError):
    """Another gateway wrote to the database meanwhile, so what this one remembers is outdated."""


class StreamSupersededError(GatewayError):
    """A newer stream of the same device plugin took this one's place."""


class StreamSilentError(GatewayError):
    """A device plugin reported nothing for too long."""


class ProviderError(GatewayError):
    """The provider failed."""


class ProviderUnavailableError(ProviderError):
    """The provider is away for now; work stays queued."""


class WorkerError(ProviderError):
    """A worker process crashed, ran out of memory or out of time; only its own job fails."""
