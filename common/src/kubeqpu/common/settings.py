"""Base of every component's settings: flags, then environment, then defaults."""

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One frozen class per component; flag `--log-level` is also `KUBEQPU_LOG_LEVEL`.

    Attributes:
        log_level: Least severe level to write: debug, info, warning or error.
    """

    model_config = SettingsConfigDict(
        env_prefix="KUBEQPU_",
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        use_attribute_docstrings=True,
    )

    log_level: str = "info"


def describe_mistake(error: ValidationError) -> str:
    """Says which setting is wrong, why, and how it is set."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "settings"
    return (
        f"Setting {field} is wrong: {first['msg']}. "
        f"Set KUBEQPU_{field.upper()} or the flag --{field.replace('_', '-')}."
    )
