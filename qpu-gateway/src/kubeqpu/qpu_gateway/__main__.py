"""Entry point of the `qpu-gateway` command."""

import asyncio
import sys

from kubeqpu.common.logs import configure_logs
from kubeqpu.qpu_gateway.server import serve
from kubeqpu.qpu_gateway.settings import ConfigurationError, load_settings


def main() -> None:
    """Runs the gateway; wrong settings end it with one sentence and status 2."""
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        asyncio.run(serve(settings))
    except (ConfigurationError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
