"""Everything cutting refuses or fails at: what happened, what was expected, what to do."""


class CuttingError(Exception):
    """Base of the errors of this package."""


class InvalidInputError(CuttingError, ValueError):
    """A circuit, an observable or an argument cannot be used."""


class NoPlanError(CuttingError):
    """No way of cutting keeps the limits."""


class BudgetError(CuttingError, ValueError):
    """The shots asked for do not suffice for the plan."""


class ExecutionError(CuttingError):
    """Fragments could not be executed, or their results do not belong to the plan."""
