"""`spec.template` as a schema: as much of a pod template as a rule has to see."""

from __future__ import annotations

from typing import Final

from pydantic.config import JsonDict

from pool_operator.names import WORKER_CONTAINER

TEMPLATE_RULES: Final[list[JsonDict]] = [
    {
        "rule": f"self.spec.containers.exists(one, one.name == '{WORKER_CONTAINER}')",
        "message": f"must have a container named '{WORKER_CONTAINER}': it runs the jobs",
        "fieldPath": ".spec.containers",
    },
]
_KEPT: Final[JsonDict] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
# as much of a pod template as a rule has to see; the API server's dry run judges the rest
TEMPLATE_SHAPE: Final[JsonDict] = {
    **_KEPT,
    "required": ["spec"],
    "properties": {
        "metadata": {**_KEPT, "description": "Labels and annotations of the worker pods."},
        "spec": {
            **_KEPT,
            "description": "As in a pod: containers, volumes, nodeSelector, tolerations …",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "description": f"Containers; the one named `{WORKER_CONTAINER}` runs the jobs.",
                    "minItems": 1,
                    "maxItems": 16,
                    "items": {
                        **_KEPT,
                        "required": ["name"],
                        "properties": {
                            "name": {
                                "type": "string",
                                "description": "Name of the container.",
                                "minLength": 1,
                                "maxLength": 63,
                            }
                        },
                    },
                }
            },
        },
    },
    "x-kubernetes-validations": [*TEMPLATE_RULES],
}
