"""Rules that a recipe has to keep: conditions beside the words for their breach."""

from typing import Any, get_args

from amdet_hub.errors import ConfigError

# Whether it is kept, the name of the setting, and what is wrong otherwise.
Rule = tuple[bool, str, str]


def require(*rules: Rule) -> None:
    """Check rules in order.

    Raises:
        ConfigError: a rule is broken; names the first.
    """
    for kept, name, wrong in rules:
        if not kept:
            raise ConfigError(name, wrong)


def one_of(name: str, value: str, literal: Any) -> Rule:
    """`value` is one of the words of a `Literal` type."""
    return value in get_args(literal), name, f"'{value}' is not one of {', '.join(get_args(literal))}"


def contrastive(steps: int, batch: int, lr: float, temperature: float) -> Rule:
    """The numbers of a contrastive training."""
    return (
        steps >= 1 and batch >= 2 and lr > 0 and temperature > 0,
        "recipe",
        "steps must be at least 1, batch at least 2, lr and temperature above 0",
    )
