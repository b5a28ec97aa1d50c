"""A pool from a file that a person wrote. Strict: a field that we do not know is a mistake, not a newer version's."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from pool_operator.api.models import LONGEST_NAME, ProcessingPoolSpec, helps_itself
from pool_operator.api.sentences import sentence
from pool_operator.names import GROUP, KIND, VERSION

_NAME: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_TOP: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
LONGEST_NAMESPACE: Final = 63


class PoolFileError(ValueError):
    """The file is no pool; the text is the sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetadata:
    name: str
    namespace: str = "default"


def load_pool(path: Path) -> tuple[PoolMetadata, ProcessingPoolSpec]:
    """Read one pool.

    Raises:
        PoolFileError: one sentence with the file, the field and the fix.
    """
    try:
        return read_pool(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PoolFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PoolFileError(f"{path}: is not UTF-8 text; is it a YAML file?") from error
    except PoolFileError as error:
        raise PoolFileError(f"{path}: {error}") from error.__cause__


def read_pool(text: str) -> tuple[PoolMetadata, ProcessingPoolSpec]:
    """As `load_pool`, for the text itself."""
    raw = _document(text)
    found = (raw.get("apiVersion"), raw.get("kind"))
    if found != (f"{GROUP}/{VERSION}", KIND):
        raise PoolFileError(
            f"apiVersion '{found[0]}', kind '{found[1]}': must be apiVersion '{GROUP}/{VERSION}', kind '{KIND}'"
        )
    if unknown := sorted(str(key) for key in raw.keys() - _TOP):
        raise PoolFileError(f"{unknown[0]}: does not belong here; a pool's settings stand under spec")
    metadata = _metadata(raw.get("metadata"))
    if not isinstance(raw.get("spec"), dict):
        raise PoolFileError("spec: is missing; write the pool's settings under it")
    spec = strict(raw["spec"])
    if spec.overflow is not None and spec.overflow.for_pool_ref.name == metadata.name:
        raise PoolFileError(f"spec.{helps_itself(metadata.name)}")
    return metadata, spec


def strict(spec: dict[str, Any]) -> ProcessingPoolSpec:
    """A spec of which every field is known.

    Raises:
        PoolFileError: one sentence with the field and the fix.
    """
    try:
        return ProcessingPoolSpec.model_validate(spec, extra="forbid", by_alias=True, by_name=False)
    except ValidationError as error:
        raise PoolFileError(sentence(error, ProcessingPoolSpec)) from error


def _document(text: str) -> dict[str, Any]:
    try:
        documents = [one for one in yaml.load_all(text, Loader=_Loader) if one is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise PoolFileError(f"{where}is not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PoolFileError(f"is not YAML: {str(error).splitlines()[0]}") from error
    if len(documents) != 1:
        raise PoolFileError(f"holds {len(documents)} YAML documents; there must be one, the pool")
    if not isinstance(documents[0], dict):
        raise PoolFileError("is not a Kubernetes object; it must start with apiVersion and kind")
    return documents[0]


def _metadata(raw: Any) -> PoolMetadata:
    name = raw.get("name") if isinstance(raw, dict) else None
    namespace = (raw.get("namespace") or "default") if isinstance(raw, dict) else "default"
    for field, value, longest in (("name", name, LONGEST_NAME), ("namespace", namespace, LONGEST_NAMESPACE)):
        if not isinstance(value, str) or not _NAME.match(value) or len(value) > longest:
            raise PoolFileError(
                f"metadata.{field}: '{value}' is no name; use lower-case letters, digits and '-', at most {longest}"
            )
    return PoolMetadata(name=str(name), namespace=str(namespace))


class _Loader(yaml.SafeLoader):
    """As kubectl: a key that stands twice is a mistake, not a later wish."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value}' stands there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
