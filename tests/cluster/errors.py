"""What can go wrong, in words that say what to do."""


class ClusterError(Exception):
    """The test cluster could not do what was asked; the message says why and what helps."""


class MissingError(ClusterError):
    """Something this machine lacks; the message names it and how to get it."""
