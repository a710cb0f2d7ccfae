"""Access in embedded mode: only this machine can call, and is believed."""

from kubeqpu.qpu_gateway.access.callers import Caller, Metadata, Verb
from kubeqpu.qpu_gateway.access.metadata import read_tenant
from kubeqpu.qpu_gateway.jobs import Submitter

LOCAL_TENANT = "local"


class EmbeddedAccess:
    """Believes callers which tenant they are, and lets everybody do everything."""

    check_seconds = None

    async def identify(self, metadata: Metadata) -> Caller:
        """Takes the tenant from the metadata, or `local`.

        Raises:
            InvalidRequestError: If it is not a namespace's name.
        """
        return Caller(read_tenant(metadata) or LOCAL_TENANT)

    def holds(self, caller: Caller, qpu: str) -> bool:
        """Nobody holds anything here."""
        return False

    def is_present(self, submitter: Submitter) -> bool:
        """There are no pods here."""
        return False

    async def authorise(self, caller: Caller, verb: Verb, qpu: str, patient: bool = True) -> None:
        """Lets everybody pass."""
