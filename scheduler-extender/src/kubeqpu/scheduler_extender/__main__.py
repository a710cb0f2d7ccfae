"""Entry point of the `scheduler-extender` command."""

import sys

import uvloop

from kubeqpu.common.logs import configure_logs
from kubeqpu.kube.errors import NoClusterError
from kubeqpu.scheduler_extender.errors import ConfigurationError
from kubeqpu.scheduler_extender.service import run_extender
from kubeqpu.scheduler_extender.settings import ExtenderSettings


def main() -> None:
    """Runs the extender; wrong settings end it with one sentence and status 2."""
    try:
        settings = ExtenderSettings.load(sys.argv[1:])
        configure_logs(settings.log_level)
        uvloop.run(run_extender(settings))
    except (ConfigurationError, NoClusterError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
