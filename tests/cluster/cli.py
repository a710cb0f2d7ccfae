"""The command line: ``python -m tests.cluster COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.cluster import builder, images, processes, programs
from tests.cluster.addons import postgresql, prometheus
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.layout import cache_folder
from tests.cluster.progress import Progress
from tests.cluster.requirements import missing
from tests.cluster.spec import DEFAULT_NAME, ClusterSpec, known, parse_addons

GIB = 1024**3


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument("--name", default=DEFAULT_NAME, help="the cluster's name (%(default)s)")
        return made

    for name, text in (
        ("up", "bring a cluster up, or finish and mend one that is"),
        ("check", "say what this machine lacks for such a cluster, and how to get it"),
    ):
        made = command(name, text)
        made.add_argument("--nodes", type=int, default=2, help="how many nodes (%(default)s)")
        made.add_argument("--control-plane-only", action="store_true",
                          help="no nodes: needs no root, ready in seconds")  # fmt: skip
        made.add_argument("--addons", default="", metavar="LIST",
                          help=f"comma-separated: {known()}")  # fmt: skip
    command("down", "end and remove a cluster; nothing of it is left")
    command("status", "say what runs and where")
    load = command("load", "load images into every node")
    load.add_argument("images", nargs="+", metavar="IMAGE",
                      help="an archive, or the name of an image built here")  # fmt: skip
    logs = command("logs", "show the ends of the logs")
    logs.add_argument("processes", nargs="*", metavar="PROCESS", help="as status lists them (all)")
    logs.add_argument("--lines", type=int, default=20, help="how many lines each (%(default)s)")
    prune = commands.add_parser("prune", help="remove the layers of built images")
    prune.add_argument("--above", type=float, default=0.0, metavar="GIB",
                       help="only if they take more than this (%(default)s)")  # fmt: skip
    build = commands.add_parser("build", help="build every program the cluster can run")
    build.add_argument("--background", action="store_true", help="return at once and build on")
    return top


def spec_of(arguments: argparse.Namespace) -> ClusterSpec:
    """The cluster that the options describe."""
    nodes = 0 if arguments.control_plane_only else arguments.nodes
    return ClusterSpec(arguments.name, nodes, parse_addons(arguments.addons))


def main(words: Sequence[str] | None = None) -> int:
    """Carry out one command.

    Returns:
        The exit status.
    """
    arguments = parser().parse_args(words)
    progress = Progress()
    try:
        return run(arguments, progress)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here, 'down' removes it all",
              file=sys.stderr)  # fmt: skip
        return 130


def run(arguments: argparse.Namespace, progress: Progress) -> int:
    """Carry out one command, and let errors through."""
    if arguments.command == "build":
        return build(background=arguments.background, progress=progress)
    if arguments.command == "prune":
        return prune(arguments.above, progress)
    if arguments.command in {"up", "check"}:
        spec = spec_of(arguments)
        if arguments.command == "check":
            return check(spec)
        Cluster(spec.name, progress).up(spec)
        return 0
    cluster = Cluster(arguments.name, progress)
    if arguments.command == "down":
        cluster.down()
        return 0
    if arguments.command == "status":
        return status(cluster)
    if arguments.command == "load":
        cluster.load(*arguments.images)
        return 0
    return logs(cluster, arguments.processes, arguments.lines)


def build(*, background: bool, progress: Progress) -> int:
    """Build every program, here or in the background."""
    if background:
        process = builder.start_in_background()
        log = builder.BACKGROUND.log(builder.BUILD)
        print(f"building in the background (pid {process.pid}); its log is {log}")
        return 0
    builder.build_everything(progress.report)
    progress.report(f"everything is built, in {cache_folder()}")
    return 0


def prune(above_gib: float, progress: Progress) -> int:
    """Remove the layers of built images if they take more than a limit."""
    kept = images.Images(builder.Builder(progress.report), progress.report)
    held_gib = kept.prune(int(above_gib * GIB)) / GIB
    done = "removed" if held_gib > above_gib else "kept"
    print(f"{held_gib:.1f} GiB of layers {done}, in {cache_folder()}")
    return 0


def check(spec: ClusterSpec) -> int:
    """Say what is missing; 1 if anything is."""
    found = missing(spec)
    for one in found:
        print(one)
    if not found:
        left = builder.Builder(print).seconds_left(programs.needed(spec))
        first = f"; programs are built first, about {max(1, round(left / 60))} min" if left else ""
        print(f"nothing is missing{first}")
    return 1 if found else 0


def status(cluster: Cluster) -> int:
    """Say what runs; 1 if something that should does not."""
    chosen = cluster.state
    down = []
    for name, process in cluster.processes().items():
        print(f"{name:28} {'pid ' + str(process.pid) if process else 'not running'}")
        if process is None:
            down.append(name)
    print(f"{'kubeconfig':28} {cluster.kubeconfig}")
    print(f"{'API server':28} {cluster.control_plane.url}")
    if prometheus.NAME in chosen.ports:
        print(f"{'Prometheus':28} {prometheus.url(cluster)}")
    if postgresql.NAME in chosen.ports:
        print(f"{'PostgreSQL':28} {postgresql.url(cluster)}")
    if down:
        print(f"not running: {', '.join(down)}; 'up' starts them again")
        return 1
    if chosen.spec.nodes:
        print(cluster.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide"), end="")
    return 0


def logs(cluster: Cluster, names: Sequence[str], lines: int) -> int:
    """Show the ends of logs."""
    known_names = sorted(path.stem for path in cluster.layout.logs.glob("*.log"))
    if not known_names:
        raise ClusterError(f"cluster {cluster.name!r} has no logs: it was never up, or is down")
    for name in names or known_names:
        if name not in known_names:
            raise ClusterError(f"there is no log of {name!r}: there are {', '.join(known_names)}")
        print(processes.tail(cluster.layout, name, lines), end="\n\n")
    return 0
