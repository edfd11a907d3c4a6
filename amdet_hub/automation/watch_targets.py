"""The names of a watch: `org/model` for one model, `org/...` for all of a namespace."""

from collections.abc import Sequence
from typing import Literal

from amdet_hub.errors import TargetError
from amdet_hub.hub import is_repo_id

# Behind a namespace: all of its models.
EVERY_MODEL = "/..."


def parse_watched(targets: Sequence[str]) -> tuple[tuple[Literal["namespace", "model"], str], ...]:
    """Targets as (kind, name), each once. Raises: TargetError."""
    found: list[tuple[Literal["namespace", "model"], str]] = []
    for target in dict.fromkeys(targets):
        namespace = target.removesuffix(EVERY_MODEL)
        if namespace != target and is_repo_id(namespace) and "/" not in namespace:
            found.append(("namespace", namespace))
        elif is_repo_id(target):
            found.append(("model", target))
        else:
            raise TargetError(
                target, "a watch takes org/model for one model, or org/... for all models of a namespace"
            )
    return tuple(found)
