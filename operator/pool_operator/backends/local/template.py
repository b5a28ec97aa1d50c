"""What one machine makes of a pod template: the command, arguments and environment of its container `worker`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.names import WORKER_CONTAINER

USED: Final = frozenset({"name", "command", "args", "env", "workingDir", "resources"})
REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
WHERE: Final = f"spec.template.spec.containers[{WORKER_CONTAINER}]"
Json = dict[str, Any]


class TemplateError(ValueError):
    """The template cannot be run on this machine; the text is the sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTemplate:
    """The part of a template that this backend follows, and the names of what it does not."""

    command: tuple[str, ...] = ()  # empty: the worker of this installation
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    ignored: tuple[str, ...] = ()


def read_template(spec: ProcessingPoolSpec) -> WorkerTemplate:
    """
    Raises:
        TemplateError: with one sentence that names the field.
    """
    container = _worker(spec.template)
    command = [*_texts(container, "command"), *_texts(container, "args")]
    environment: dict[str, str] = {}
    ignored = _ignored(spec.template, container)
    for entry in container.get("env") or ():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise TemplateError(f"{WHERE}.env: each entry needs a name and a value")
        if "valueFrom" in entry:
            ignored.append(f"{WHERE}.env[{entry['name']}].valueFrom")
        else:
            environment[entry["name"]] = _expanded(str(entry.get("value", "")), environment)
    folder = container.get("workingDir")
    return WorkerTemplate(
        command=tuple(_expanded(part, environment) for part in command),
        environment=environment,
        folder=folder if isinstance(folder, str) and folder else None,
        ignored=tuple(ignored),
    )


def with_memory_limit(spec: ProcessingPoolSpec, ram_bytes: int) -> ProcessingPoolSpec:
    """The spec with a memory limit for each replica: the template's own, else an equal share of this machine."""
    template: Json = deepcopy(dict(spec.template))
    container = _worker(template)
    resources = container["resources"] = container.get("resources") or {}
    limits = resources.get("limits") or {} if isinstance(resources, dict) else None
    if not isinstance(limits, dict):
        raise TemplateError(f"{WHERE}.resources: must look like {{limits: {{memory: 4Gi}}}}, is {resources!r}")
    if "memory" not in limits:
        resources["limits"] = {**limits, "memory": f"{ram_bytes // max(1, spec.max_replicas) // 2**20}Mi"}
    return spec.model_copy(update={"template": template})


def _worker(template: Mapping[str, Any]) -> Json:
    pod = template.get("spec")
    containers = pod.get("containers") if isinstance(pod, Mapping) else None
    for one in containers if isinstance(containers, list) else ():
        if isinstance(one, dict) and one.get("name") == WORKER_CONTAINER:
            return one
    raise TemplateError(
        f"spec.template.spec.containers: there is no container named '{WORKER_CONTAINER}': add it, it runs the jobs"
    )


def _texts(container: Json, key: str) -> list[str]:
    found = container.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TemplateError(f"{WHERE}.{key}: must be a list of texts, is {found!r}")
    return found


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes does it: earlier entries only, `$$` is `$`, unknown names stay."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environment.get(match[1], match[0])

    return REFERENCE.sub(value, text)


def _ignored(template: Mapping[str, Any], container: Json) -> list[str]:
    pod = template["spec"]
    found = [f"spec.template.{key}" for key in template if key != "spec"]
    found += [f"spec.template.spec.{key}" for key in pod if key != "containers"]
    found += [
        f"spec.template.spec.containers[{one.get('name', '?')}]"
        for one in pod["containers"]
        if isinstance(one, Mapping) and one.get("name") != WORKER_CONTAINER
    ]
    found += [f"{WHERE}.{key}" for key in container if key not in USED]
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    found += [f"{WHERE}.resources.{key}" for key in resources if key != "limits"]
    return found + [f"{WHERE}.resources.limits.{key}" for key in limits if key != "memory"]
