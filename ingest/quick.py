"""Frozen dataclasses that are quick to make, for what is made once for every reading."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar

T = TypeVar("T")


_CLASS: Final = object.__dict__["__class__"]


def quick(cls: type[T]) -> type[T]:
    """Give a frozen, slotted, keyword-only dataclass an `__init__` that takes less than half the time.

    While it is made the object belongs to a class of the same slots that is not frozen, so that each is simply
    assigned, where that of a frozen dataclass looks each of them up by name. What a default_factory makes is made
    once and shared by all. Not to be inherited from: what is made becomes one of this class.
    """
    thawed = type(cls.__name__, (), {"__slots__": tuple(each.name for each in fields(cls))})  # type: ignore[arg-type]
    space: dict[str, Any] = {"become": _CLASS.__set__, "thawed": thawed, "frozen": cls}
    parameters, body = [], []
    for each in fields(cls):  # type: ignore[arg-type]
        name = each.name
        default = each.default if each.default_factory is MISSING else each.default_factory()
        space[f"default_{name}"] = default
        parameters.append(name if default is MISSING else f"{name}=default_{name}")
        body.append(f"self.{name} = {name}")
    source = f"become(self, thawed); {'; '.join(body)}; self.__class__ = frozen"
    # As dataclasses does it.
    exec(f"def __init__(self, *, {', '.join(parameters)}): {source}", space)  # noqa: S102
    setattr(cls, "__init__", space["__init__"])  # noqa: B010  mypy has no other way
    return cls
