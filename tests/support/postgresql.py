"""A real PostgreSQL of its own for tests: started, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil
import psycopg

from tests.cluster.addons.postgresql import program, unprivileged
from tests.cluster.requirements import INSTALL, POSTGRESQL_PROGRAMS

PASSWORD = "correct-horse"  # a test looks for it in logs
USER = "kubeqpu"
READY_SECONDS = 60.0


def missing() -> str | None:
    """Says what keeps PostgreSQL from running here, or None."""
    if not POSTGRESQL_PROGRAMS.is_dir():
        return f"PostgreSQL is not installed: run {INSTALL}"
    return None


class PostgreSQL:
    """A server on loopback with one user, who may do everything, and a database per test.

    What it acknowledged survives its processes, which tests kill, though not the machine: it does
    not wait for the disk unless told to.

    Args:
        durable: Whether commits wait for the disk.
    """

    def __init__(self, durable: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kubeqpu-postgresql-")
        self.folder = Path(self._folder.name)
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        # It is not given back: a server that is started again has to be found where it was.
        self.port = _free_port()
        self._initialise()

    def start(self) -> Self:
        """Starts the server and waits until it takes connections."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "40",
            "shared_buffers": "32MB",
            "autovacuum": "off",
        }
        if not self._durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [*unprivileged(), program("postgres"), "-D", str(self._data), *settings]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self._log.read_text()}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Ends the server, and its clients' connections, in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(READY_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Ends every process of the server at whatever line it is."""
        assert self._process is not None
        # Stopped first: it could start others while they are counted.
        self._process.send_signal(signal.SIGSTOP)
        processes = psutil.Process(self._process.pid).children(recursive=True)
        for process in processes:
            process.kill()
        self._process.kill()
        self._process.wait()
        while any(_is_alive(process) for process in processes):
            time.sleep(0.01)
        self._process = None

    def close(self) -> None:
        """Ends the server and removes its data."""
        self.stop()
        self._folder.cleanup()

    def make_database(self) -> str:
        """Makes an empty database and returns its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """Gives the URL of a database."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, url: str | None = None) -> list[tuple[object, ...]]:
        """Executes a statement outside a transaction and returns its rows."""
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        command = [
            *unprivileged(),
            program("initdb"),
            f"--pgdata={self._data}",
            f"--username={USER}",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(command, check=True, capture_output=True)

    def _is_ready(self) -> bool:
        command = [program("pg_isready"), "--host=127.0.0.1", f"--port={self.port}", "--quiet"]
        return subprocess.run(command, check=False).returncode == 0


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    # Far from the ports that the system chooses for others meanwhile.
    taken = {item.laddr.port for item in psutil.net_connections("tcp") if item.laddr}
    start = 20_000 + os.getpid() % 10_000
    return next(port for port in range(start, 32_000) if port not in taken)
