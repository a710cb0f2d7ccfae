"""Runs a service until it is told to stop."""

import asyncio
import signal


async def until_stopped() -> None:
    """Returns at the first SIGTERM or SIGINT.

    A second signal falls through to Python's default and ends the process at once, so an operator
    can always get out of a shutdown that hangs.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
