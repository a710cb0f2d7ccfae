"""What can go wrong in admission's components."""


class AdmissionError(Exception):
    """Base of the errors of this component."""


class ConfigurationError(AdmissionError):
    """Wrong settings; the message says which and what to do."""


class ClusterError(AdmissionError):
    """The API server was not reached or refused a request."""


class NotFoundError(ClusterError):
    """The object, or its kind, does not exist."""


class ConflictError(ClusterError):
    """The object changed since it was read, or exists already."""


class CleanupError(AdmissionError):
    """Something of ours could not be removed from the cluster."""


class MalformedReviewError(AdmissionError):
    """The API server's question makes no sense to us."""


class CertificateError(AdmissionError):
    """The certificate that webhooks are served with cannot be used."""
