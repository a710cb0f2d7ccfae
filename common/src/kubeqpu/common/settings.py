"""Base of every component's settings: flags, then environment, then defaults."""

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
