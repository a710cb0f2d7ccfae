"""Finds the addresses of all gateways' pods by DNS."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Resolver: TypeAlias = Callable[[str, int], Awaitable[frozenset[str]]]


async def resolve(host: str, port: int) -> frozenset[str]:
    """Looks a name up.

    Args:
        host: Name of a headless Service.
        port: Port of the pods behind it.

    Returns:
        gRPC targets, one for each address.

    Raises:
        OSError: If the name is not known, or nobody could be asked.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return frozenset(
        f"ipv6:[{address[0]}]:{port}" if family == socket.AF_INET6 else f"ipv4:{address[0]}:{port}"
        for family, _, _, _, address in found
    )
