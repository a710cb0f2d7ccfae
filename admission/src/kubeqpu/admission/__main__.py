"""Entry point of the `admission` command."""

import asyncio
import sys
from collections.abc import Callable, Sequence

from kubeqpu.admission.cleanup import run_cleanup
from kubeqpu.admission.errors import AdmissionError, ConfigurationError
from kubeqpu.admission.settings import CleanupSettings, ControllerSettings, WebhookSettings
from kubeqpu.common.logs import configure_logs
from kubeqpu.kube.errors import APIServerError, NoClusterError


def _control(flags: Sequence[str]) -> None:
    from kubeqpu.admission.controller import run_controller  # noqa: PLC0415 - not for the others

    settings = ControllerSettings.load(flags)
    configure_logs(settings.log_level)
    asyncio.run(run_controller(settings))


def _clean_up(flags: Sequence[str]) -> None:
    settings = CleanupSettings.load(flags)
    configure_logs(settings.log_level)
    asyncio.run(run_cleanup(settings))


def _answer(flags: Sequence[str]) -> None:
    from kubeqpu.admission.webhooks.service import run_webhooks  # noqa: PLC0415 - as above

    settings = WebhookSettings.load(flags)
    configure_logs(settings.log_level)
    asyncio.run(run_webhooks(settings))


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "controller": _control,
    "cleanup": _clean_up,
    "webhooks": _answer,
}


def main() -> None:
    """Runs a command.

    Wrong settings end it with one sentence and status 2, what may work another time with one
    sentence and status 1.
    """
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
    except (AdmissionError, APIServerError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
