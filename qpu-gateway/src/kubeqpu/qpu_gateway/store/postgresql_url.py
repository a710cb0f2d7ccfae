"""The URL of a PostgreSQL database, from a file; its password goes nowhere but to the database."""

from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from kubeqpu.qpu_gateway.settings import ConfigurationError

_SCHEMES = ("postgresql://", "postgres://")
_EXPECTED = (
    "expected postgresql://<user>:<password>@<host>/<database>, in which @, /, : and % within a "
    "password are written as %40, %2F, %3A and %25"
)
# Below whatever the URL says itself: a database that is gone is noticed within seconds, and of
# several hosts the one is taken that can be written to.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "target_session_attrs": "read-write",
}


def read_parameters(path: Path) -> Mapping[str, str]:
    """Reads connection parameters, by libpq's names, from a file that holds a URL.

    Raises:
        ConfigurationError: If there is no such file, or no usable URL in it. What it says never
            holds any part of the URL, which may be a part of the password.
    """
    try:
        url = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"Database URL file {path} cannot be read ({reason}); put the URL of a PostgreSQL "
            "database there. In a cluster it is the key `url` of a Secret."
        ) from None
    if not url.startswith(_SCHEMES):
        raise ConfigurationError(f"The URL in {path} is not PostgreSQL's: {_EXPECTED}.")
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigurationError(f"The URL in {path} is malformed: {_EXPECTED}.") from None
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    if problem := _find_problem(parameters):
        raise ConfigurationError(f"The URL in {path} {problem}: {_EXPECTED}.")
    return {**_DEFAULTS, **parameters}


def hide_password(text: str, parameters: Mapping[str, str]) -> str:
    """Gives a text on one line and without the password."""
    password = parameters.get("password")
    if password:
        text = text.replace(password, "***")
    return " ".join(text.split())


def _find_problem(parameters: Mapping[str, str]) -> str | None:
    hosts = parameters.get("host") or parameters.get("hostaddr") or parameters.get("service")
    if not hosts:
        return "names no host"
    if not (parameters.get("dbname") or parameters.get("service")):
        return "names no database"
    # What is left of a password that was not encoded ends up in the host, the port or the name.
    ports = parameters.get("port", "").split(",")
    if "@" in hosts or "@" in parameters.get("dbname", "") or not all(map(_is_port, ports)):
        return "is malformed"
    return None


def _is_port(text: str) -> bool:
    return text == "" or (text.isdecimal() and 0 < int(text) < 2**16)
