"""Everything that can go wrong between a program and its gateway.

`translate` maps gRPC status codes to these classes in one place and keeps the gateway's sentence.
"""

import grpc


class ClientError(Exception):
    """Base of the client's errors."""


class InvalidRequestError(ClientError, ValueError):
    """The request is malformed or asks for what the QPU lacks; sending it again will not help."""


class NotFoundError(ClientError, LookupError):
    """The job, QPU or blob does not exist, or belongs to another tenant."""


class ConflictError(ClientError):
    """An idempotency key was used again for a different job."""


class LimitExceededError(ClientError):
    """A size, count or disk limit of the gateway is reached."""


class AccessDeniedError(ClientError):
    """The gateway does not know the caller, or the caller may not do this."""


class UnavailableError(ClientError, ConnectionError):
    """The gateway cannot be reached, and did not come back within the client's patience."""


class CertificateError(ClientError, ConnectionError):
    """What answers at the gateway's address cannot show that it is the gateway."""


class DeadlineError(ClientError, TimeoutError):
    """The gateway or the job took longer than the caller allowed."""


class ProtocolError(ClientError):
    """The gateway answered with something this client does not understand."""


class GatewayFailureError(ClientError):
    """The gateway failed in a way that is not the caller's fault."""


class ClosedError(ClientError, RuntimeError):
    """The client was used after it was closed."""


class JobFailedError(ClientError):
    """The job ended in failure; the message is the gateway's reason."""


class JobCancelledError(ClientError):
    """The job was cancelled; results stored before stay readable."""


# How gRPC words these failures; tests hold it to that.
_CLOSED = "Socket closed"
_PLUGIN = "Getting metadata from plugin failed with error: "
_DISTRUST = {
    "Hostname Verification Check failed": (
        "The certificate of the gateway at {address} is for other names; use the address by which "
        "it calls itself, such as the one in KUBEQPU_GATEWAY or a QPU's status."
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "The certificate of the gateway at {address} is not to be trusted: it has expired, or "
        "another authority signed it. Name the gateway's own with `ca_file` or KUBEQPU_CA_FILE."
    ),
    "Failed to create security handshaker": (
        "The authority for the gateway at {address} cannot be used; expected PEM certificates in "
        "the file named by `ca_file` or KUBEQPU_CA_FILE."
    ),
    "WRONG_VERSION_NUMBER": (
        "What answers at {address} does not speak TLS; check the address, and leave `ca_file` and "
        "KUBEQPU_CA_FILE out for a gateway on this machine without TLS."
    ),
}

_CLASSES: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
    grpc.StatusCode.PERMISSION_DENIED: AccessDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: AccessDeniedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
}


def translate(error: grpc.RpcError, address: str) -> ClientError:
    """Makes the client's error from a failed call.

    Args:
        error: What gRPC raised.
        address: The gateway's address as the caller gave it.
    """
    code, details = read_status(error)
    if (found := find_refusal(error, address)) is not None:
        return found
    if code is grpc.StatusCode.UNAVAILABLE:
        hint = " If it serves TLS, name its authority with `ca_file`." if _CLOSED in details else ""
        return UnavailableError(
            f"No gateway answers at {address} ({details}). Check that it runs, that the address "
            "(argument `address` or KUBEQPU_GATEWAY) is right, and that it is reachable from here."
            f"{hint}"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(
            f"The gateway at {address} did not answer within the time allowed ({details}). "
            "Allow more with `timeout_seconds`, or look at the gateway's load."
        )
    return _CLASSES.get(code, GatewayFailureError)(details or f"The gateway answered {code.name}.")


def find_refusal(error: grpc.RpcError, address: str) -> ClientError | None:
    """Makes the error of a call that never left this process, or whose gateway was not trusted.

    gRPC says UNAVAILABLE then too, but waiting does not help.

    Args:
        error: What gRPC raised.
        address: The gateway's address as the caller gave it.

    Returns:
        The error, or None for any other failure.
    """
    code, details = read_status(error)
    if code is not grpc.StatusCode.UNAVAILABLE:
        return None
    if details.startswith(_PLUGIN):
        return AccessDeniedError(details.removeprefix(_PLUGIN))
    for sign, sentence in _DISTRUST.items():
        if sign in details:
            return CertificateError(f"{sentence.format(address=address)} ({details})")
    return None


def read_status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Reads status code and sentence of a failed call, sync or async."""
    if isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(error)
