"""Entry point of the `admission` command."""

import asyncio
import sys
from collections.abc import Callable, Sequence

from kubeqpu.admission.errors import ConfigurationError
from kubeqpu.admission.settings import ControllerSettings
from kubeqpu.common.logs import configure_logs
from kubeqpu.kube.errors import NoClusterError


def _control(flags: Sequence[str]) -> None:
    from kubeqpu.admission.controller import run_controller  # noqa: PLC0415 - kopf, for it alone

    settings = ControllerSettings.load(flags)
    configure_logs(settings.log_level)
    asyncio.run(run_controller(settings))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"controller": _control}


def main() -> None:
    """Runs a component; wrong settings end it with one sentence and status 2."""
    command, *flags = sys.argv[1:] or [""]
    try:
        if command not in COMMANDS:
            raise ConfigurationError(
                f"Command {command!r} is unknown; expected one of: {', '.join(COMMANDS)}."
            )
        COMMANDS[command](flags)
    except (ConfigurationError, NoClusterError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
