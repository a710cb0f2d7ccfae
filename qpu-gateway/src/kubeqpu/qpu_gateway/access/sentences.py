"""What callers are told who may not pass: what happened, what was expected, what to do."""

from kubeqpu.common.names import DOMAIN, ENV_TOKEN_FILE, TOKEN_FILE
from kubeqpu.qpu_gateway.access.callers import Caller, Verb

_DEEDS = {Verb.CREATE: "run circuits", Verb.GET: "read jobs", Verb.DELETE: "cancel jobs"}


def say_token_missing(audience: str) -> str:
    """Tells a caller without a token how to get one."""
    return f"The call has no token. {_say_mount(audience)}"


def say_token_refused(reason: str, audience: str) -> str:
    """Tells a caller why its token does not count."""
    return f"The call's token is refused because {reason}. {_say_mount(audience)}"


def say_other_tenant(caller: Caller, claimed: str) -> str:
    """Tells a caller that names a tenant which is not its own."""
    return (
        f"{caller.user} calls as tenant {claimed}, but its tenant is its namespace, "
        f"{caller.tenant}; leave the tenant out, or call with a token of namespace {claimed}."
    )


def say_denied(caller: Caller, verb: Verb, qpu: str | None) -> str:
    """Tells a caller which right it lacks and how to look for it.

    Args:
        caller: Who calls.
        verb: What it wants to do.
        qpu: The jobs' QPU, or None where it may on none.
    """
    target = f"qpus.{DOMAIN}/{qpu}" if qpu else f"qpus.{DOMAIN}"
    slot = ", and its pod holds no slot there" if caller.pod is not None else ""
    return (
        f"{caller.user} may not {_DEEDS[verb]} on {f'QPU {qpu}' if qpu else 'any QPU'} as tenant "
        f"{caller.tenant}{slot}. Ask for a RoleBinding to ClusterRole kubeqpu-user in namespace "
        f"{caller.tenant}, and check it with: kubectl auth can-i {verb} {target} "
        f"--subresource=jobs --namespace={caller.tenant} --as={caller.user}"
    )


def _say_mount(audience: str) -> str:
    return (
        f"Mount a projected ServiceAccount token with audience {audience}; kubeqpu's client sends "
        f"the one at {TOKEN_FILE}, or where {ENV_TOKEN_FILE} says."
    )
