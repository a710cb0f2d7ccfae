"""Entry point of the `deviceplugin` command."""

import sys

from kubeqpu.deviceplugin.errors import ConfigurationError
from kubeqpu.deviceplugin.settings import read_settings


def main() -> None:
    """Runs the device plugin; wrong settings end it with one sentence and status 2."""
    # gRPC brings its own TLS. Without Python's, which asyncio takes where it finds it, this process
    # is five megabytes smaller, on every node; a name without a module is one that is not found.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: PLC0415

    from kubeqpu.common.logs import configure_logs  # noqa: PLC0415
    from kubeqpu.deviceplugin.service import run_plugin  # noqa: PLC0415

    try:
        settings = read_settings()
        configure_logs(settings.log_level)
        asyncio.run(run_plugin(settings))
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
