"""Why a pool's template is not used: it asks for what the installation does not allow, or the API server said no. Pure.

Who may create pools could otherwise run pods as any ServiceAccount of the namespace, or reach the node: the operator
would lend out rights that the user may not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.kubernetes.api import ApiError
from pool_operator.backends.kubernetes.causes import one_line

ACCOUNTS: Final = "--allow-service-accounts"
HOST: Final = "--allow-host-access"
CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
HARMLESS_CAPABILITIES: Final = frozenset({"NET_BIND_SERVICE"})
"""What the restricted Pod Security standard lets everybody add."""
_UNTYPED: Final = "failed to create typed patch object"
_ABOUT: Final = re.compile(rf'^(Deployment\.apps "[^"]*" is invalid|{_UNTYPED} \([^)]*\)): *\.?')
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the installation allows templates to ask for."""

    service_accounts: bool = False
    host_access: bool = False


def refusal(spec: ProcessingPoolSpec, allowed: Allowed) -> str:
    """One sentence about the first field that is not allowed, "" if there is none."""
    pod = spec.template.get("spec")
    if not isinstance(pod, Mapping):
        return ""  # not shaped like a pod template: rendering tells
    for field, setting in _asked(pod):
        if not (allowed.service_accounts if setting == ACCOUNTS else allowed.host_access):
            return (
                f"spec.template.spec.{field}: this installation does not allow it; remove the field, or ask for the "
                f"operator's setting {setting}"
            )
    return ""


def _asked(pod: Raw) -> Iterator[tuple[str, str]]:
    """(field, the setting that allows it) of everything that needs a permission."""
    for field in ("serviceAccountName", "serviceAccount"):
        if pod.get(field) not in {None, "", "default"}:
            yield field, ACCOUNTS
    if pod.get("automountServiceAccountToken"):
        yield "automountServiceAccountToken", ACCOUNTS
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field, HOST
    for number, volume in _listed(pod, "volumes"):
        if "hostPath" in volume:
            yield f"volumes[{number}].hostPath", HOST
        for part, source in _listed(volume.get("projected"), "sources"):
            if "serviceAccountToken" in source:
                yield f"volumes[{number}].projected.sources[{part}].serviceAccountToken", ACCOUNTS
    if _host_process(pod):
        yield "securityContext.windowsOptions.hostProcess", HOST
    for kind in CONTAINERS:
        for number, container in _listed(pod, kind):
            context = container.get("securityContext")
            if isinstance(context, Mapping) and context.get("privileged"):
                yield f"{kind}[{number}].securityContext.privileged", HOST
            if _added(context) - HARMLESS_CAPABILITIES:
                yield f"{kind}[{number}].securityContext.capabilities.add", HOST
            if _host_process(container):
                yield f"{kind}[{number}].securityContext.windowsOptions.hostProcess", HOST
            if any(port.get("hostPort") for _, port in _listed(container, "ports")):
                yield f"{kind}[{number}].ports: hostPort", HOST


def _added(context: object) -> set[str]:
    capabilities = context.get("capabilities") if isinstance(context, Mapping) else None
    found = capabilities.get("add") if isinstance(capabilities, Mapping) else None
    return {str(one) for one in found} if isinstance(found, list) else set()


def _host_process(raw: Raw) -> bool:
    context = raw.get("securityContext")
    options = context.get("windowsOptions") if isinstance(context, Mapping) else None
    return isinstance(options, Mapping) and bool(options.get("hostProcess"))


def _listed(raw: object, field: str) -> Iterator[tuple[int, Raw]]:
    found = raw.get(field) if isinstance(raw, Mapping) else None
    for number, one in enumerate(found if isinstance(found, list) else ()):
        if isinstance(one, Mapping):
            yield number, one


def servers_refusal(error: ApiError) -> str:
    """The API server's sentence about a template, "" if this error says nothing about it (a server in trouble).

    A field that no pod has, or one of the wrong type, comes back as status 500. Our Deployment is not named: its
    paths are those of the pool.
    """
    about_the_template = 400 <= error.status < 500 and error.status != 429
    if not about_the_template and not error.message.startswith(_UNTYPED):
        return ""
    return f"the API server refuses the template: {one_line(_ABOUT.sub('', error.message))}"
