"""Entry point of the `deviceplugin` command."""

import asyncio
import sys

from kubeqpu.common.logs import configure_logs
from kubeqpu.deviceplugin.errors import ConfigurationError
from kubeqpu.deviceplugin.service import run_plugin
from kubeqpu.deviceplugin.settings import read_settings


def main() -> None:
    """Runs the device plugin; wrong settings end it with one sentence and status 2."""
    try:
        settings = read_settings()
        configure_logs(settings.log_level)
        asyncio.run(run_plugin(settings))
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
