"""What can go wrong in the scheduler extender, and what the scheduler is told then."""


class ExtenderError(Exception):
    """Base of the errors of this component."""


class ConfigurationError(ExtenderError):
    """Wrong settings; the message says which and what to do."""


class RequestError(ExtenderError):
    """A request cannot be answered.

    Attributes:
        status: The HTTP status that says so.
    """

    status = 500


class MalformedRequestError(RequestError):
    """The scheduler sent something that makes no sense."""

    status = 400


class SlowRequestError(RequestError):
    """A request did not arrive in time."""

    status = 408


class LargeRequestError(RequestError):
    """A request is larger than any that makes sense."""

    status = 413


class StaleDataError(RequestError):
    """What is known of the QPUs may be out of date, so nothing is decided from it."""

    status = 503
