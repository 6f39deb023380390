"""Frozen dataclasses that are quick to make, for what is made once for every reading."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Give a frozen, slotted, keyword-only dataclass an `__init__` that takes half the time.

    It writes the slots themselves, where that of a frozen dataclass looks each of them up by name. What a
    default_factory makes is made once and shared by all.
    """
    space: dict[str, Any] = {}
    parameters, body = [], []
    for each in fields(cls):  # type: ignore[arg-type]
        name = each.name
        space[f"set_{name}"] = cls.__dict__[name].__set__
        space[f"default_{name}"] = each.default if each.default_factory is MISSING else each.default_factory()
        parameters.append(name if space[f"default_{name}"] is MISSING else f"{name}=default_{name}")
        body.append(f"set_{name}(self, {name})")
    # As dataclasses does it.
    exec(f"def __init__(self, *, {', '.join(parameters)}): {'; '.join(body)}", space)  # noqa: S102
    setattr(cls, "__init__", space["__init__"])  # noqa: B010  mypy has no other way
    return cls
