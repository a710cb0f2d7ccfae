"""Maps the gateway's errors to gRPC status codes, in this one place, and measures every call."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog

from kubeqpu.qpu_gateway.errors import (
    ClusterUnavailableError,
    ConflictError,
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderUnavailableError,
    ResourceExhaustedError,
    StoreUnavailableError,
    StreamSilentError,
    StreamSupersededError,
    UnauthenticatedError,
)
from kubeqpu.qpu_gateway.telemetry import RPCS, Telemetry

_LOG = structlog.get_logger(__name__)

# The first class an error is an instance of decides.
_CODES: tuple[tuple[type[GatewayError], grpc.StatusCode], ...] = (
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDeniedError, grpc.StatusCode.PERMISSION_DENIED),
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (ConflictError, grpc.StatusCode.ALREADY_EXISTS),
    (ResourceExhaustedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ClusterUnavailableError, grpc.StatusCode.UNAVAILABLE),
    (ProviderUnavailableError, grpc.StatusCode.UNAVAILABLE),
    (StoreUnavailableError, grpc.StatusCode.UNAVAILABLE),
    (StreamSupersededError, grpc.StatusCode.ABORTED),
    (StreamSilentError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (GatewayError, grpc.StatusCode.INTERNAL),
)

Context = grpc.aio.ServicerContext[Any, Any]


def status_code(error: GatewayError) -> grpc.StatusCode:
    """Gives the status with which an error is answered."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers errors with their status and counts calls.

    Args:
        telemetry: Told about every call.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of a call."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method).rpartition("/")[2]
        if handler is None or method not in RPCS:
            return handler
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.stream_stream is not None:
            wrapped = self._wrap_stream(method, handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(wrapped, *codec)
        if handler.unary_stream is not None:
            wrapped = self._wrap_stream(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(wrapped, *codec)
        return grpc.unary_unary_rpc_method_handler(
            self._wrap_unary(method, handler.unary_unary), *codec
        )

    def _wrap_unary(
        self, method: str, handle: Callable[[Any, Context], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def wrapped(request: Any, context: Context) -> Any:
            call = _Call(method, self._telemetry)
            try:
                response = await handle(request, context)
            except Exception as error:
                await call.abort(context, error)
            except asyncio.CancelledError:
                call.end("CANCELLED")
                raise
            call.end("OK")
            return response

        return wrapped

    def _wrap_stream(
        self, method: str, handle: Callable[[Any, Context], AsyncIterator[Any]]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def wrapped(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _Call(method, self._telemetry)
            try:
                async for response in handle(request, context):
                    yield response
            except Exception as error:
                await call.abort(context, error)
            except (asyncio.CancelledError, GeneratorExit):
                call.end("CANCELLED")
                raise
            call.end("OK")

        return wrapped


class _Call:
    """One call, from its start to its status."""

    def __init__(self, method: str, telemetry: Telemetry) -> None:
        self._method = method
        self._telemetry = telemetry
        self._start = time.perf_counter()

    def end(self, code: str) -> None:
        """Notes how the call ended."""
        self._telemetry.observe_rpc(self._method, code, time.perf_counter() - self._start)

    async def abort(self, context: Context, error: Exception) -> NoReturn:
        """Answers with the error's status."""
        if isinstance(error, GatewayError):
            code, message = status_code(error), str(error)
        else:
            _LOG.error("Call failed unexpectedly", method=self._method, exc_info=error)
            code = grpc.StatusCode.INTERNAL
            message = "The gateway met an error of its own; its logs have the details."
        self.end(code.name)
        await context.abort(code, message)
        raise AssertionError("abort returned")
