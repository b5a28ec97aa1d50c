"""The CustomResourceDefinition, written from the pydantic models.

pydantic speaks JSON Schema 2020-12; the API server wants a structural OpenAPI v3.0 schema: no references, no null
types, no unions, each default where the server can apply it. What has no such form is refused here, with its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from pool_operator.api.base import Model
from pool_operator.api.models import LONGEST_NAME, ProcessingPoolSpec
from pool_operator.api.status import ProcessingPoolStatus
from pool_operator.names import GROUP, KIND, PLURAL, SHORT_NAMES, VERSION

Json = dict[str, Any]
HEADER: Final = "# Written by `processingpool crd` from operator/pool_operator/api; change it there.\n"
CATEGORY: Final = "processing"
WIDE: Final = 1
COLUMNS: Final = (
    ("Desired", "integer", ".status.desiredReplicas", 0),
    ("Ready", "integer", ".status.readyReplicas", 0),
    ("Waiting", "integer", ".status.queue.waiting", 0),
    ("Running", "integer", ".status.queue.running", 0),
    ("Reason", "string", ".status.decision.reason", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Healthy", "string", '.status.conditions[?(@.type=="Ready")].status', WIDE),
    ("Why", "string", '.status.conditions[?(@.type=="Ready")].reason', WIDE),
    ("Limited-By", "string", ".status.decision.limitedBy", WIDE),
    ("Min", "integer", ".spec.minReplicas", WIDE),
    ("Max", "integer", ".spec.maxReplicas", WIDE),
    ("Slots", "integer", ".status.slotsPerReplica", WIDE),
    ("Draining", "integer", ".status.drainingReplicas", WIDE),
    ("Mode", "string", ".spec.mode", WIDE),
)
_COPIED: Final = (
    "type",
    "description",
    "default",
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "required",
)


def crd_yaml() -> str:
    """The whole file `crds/processingpools.yaml`."""
    return HEADER + yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True)


def crd() -> Json:
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*one) for one in COLUMNS],
        "schema": {"openAPIV3Schema": root_schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": list(SHORT_NAMES),
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def root_schema() -> Json:
    """The schema of a whole object."""
    return {
        "type": "object",
        "description": "A ProcessingPool: jobs of RQ queues, and as many workers for them as there is work.",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": f"size(self.metadata.name) <= {LONGEST_NAME}",
                "message": f"`metadata.name` must not be longer than {LONGEST_NAME} characters",
            },
            {
                "rule": "!has(self.spec.overflow) || self.spec.overflow.forPoolRef.name != self.metadata.name",
                "message": "`spec.overflow.forPoolRef` must not be this pool itself",
            },
        ],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this schema."},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object"},
            "spec": schema_of(ProcessingPoolSpec, "spec"),
            "status": schema_of(ProcessingPoolStatus, "status"),
        },
    }


def schema_of(model: type[Model], path: str) -> Json:
    """The structural schema of a model.

    Raises:
        ValueError: a field that has no structural form; the message names it.
    """
    raw = model.model_json_schema(by_alias=True)
    return _structural(raw, raw.get("$defs", {}), path)


def _structural(raw: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Json:
    node = _resolved(raw, definitions, path)
    if node.get("x-kubernetes-int-or-string"):
        return _int_or_string(node)
    kept = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    kind = node.get("type")
    if kind not in {"object", "array", "string", "integer", "boolean"}:
        raise ValueError(f"{path}: a {kind or 'field without a type'} has no place in the schema")
    if kind == "object" and "properties" not in node and not kept:
        raise ValueError(f"{path}: a free-form object must be marked x-kubernetes-preserve-unknown-fields")
    found: Json = {
        key: node[key] for key in _COPIED if key in node and not (key == "default" and node[key] in (None, []))
    }
    if kind == "integer":
        found["format"] = "int32" if node.get("maximum", 0) < 2**31 else "int64"
    found |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if "properties" in node:
        required = node.get("required", ())
        found["properties"] = {
            name: _property(one, definitions, f"{path}.{name}", required=name in required)
            for name, one in node["properties"].items()
        }
    if kind == "array":
        if "items" not in node:
            raise ValueError(f"{path}: a tuple of fixed places has no structural form")
        found["items"] = _structural(node["items"], definitions, f"{path}[]")
    return found


def _property(raw: Mapping[str, Any], definitions: Mapping[str, Any], path: str, *, required: bool) -> Json:
    found = _structural(raw, definitions, path)
    nullable = any(one.get("type") == "null" for one in raw.get("anyOf", ()))
    kept = "x-kubernetes-preserve-unknown-fields" in found
    if found.get("type") == "object" and not (required or nullable or kept):
        # an absent parent would hide the defaults of its fields
        found["default"] = {}
    return found


def _resolved(raw: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Json:
    """The node itself: references followed, `X or null` read as X (absent is how a pool says null)."""
    node = dict(raw)
    if "anyOf" in node:
        choices = [one for one in node.pop("anyOf") if one.get("type") != "null"]
        if len(choices) != 1:
            raise ValueError(f"{path}: a choice of types has no structural form")
        node = {**choices[0], **node}
    if "$ref" in node:
        target = definitions[node.pop("$ref").rpartition("/")[2]]
        node = {**_resolved(target, definitions, path), **node}
    return node


def _int_or_string(node: Json) -> Json:
    found: Json = {key: node[key] for key in ("description", "pattern", "maxLength") if key in node}
    if node.get("default") is not None:
        found["default"] = node["default"]
    # the one union that a structural schema may have
    return {**found, "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}


def _column(name: str, kind: str, path: str, priority: int) -> Json:
    column: Json = {"name": name, "type": kind, "jsonPath": path}
    return {**column, "priority": priority} if priority else column
