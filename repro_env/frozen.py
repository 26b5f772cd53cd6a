"""Frozen data classes that cost little to define, and that Python 3.8 knows as well.

This program starts for every run of a step and defines a hundred of them each time. `dataclasses.dataclass` compiles up
to ten methods of each from text, one by one: that was a third of the time from the prompt to the step. Here `__init__`
alone is; the others are made of functions that are compiled already.

The part of this program that step images carry (`verify/program.py`) runs with the standard library of the step's own
interpreter. Before Python 3.10 its classes have no slots, which save memory, and take arguments without their names.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]


def _decorator(
    *, frozen: bool, slots: bool, kw_only: bool = False, order: bool = False
) -> Callable[[type[Any]], type[Any]]:
    """Make a class what `dataclasses.dataclass` makes of it with the same words, `frozen` and `slots` among them."""
    assert frozen, "what changes is for dataclasses.dataclass"
    assert slots, "values have no other attributes than their fields"
    newer: dict[str, bool] = {"slots": slots, "kw_only": kw_only} if sys.version_info >= (3, 10) else {}

    def decorate(cls: type[Any]) -> type[Any]:
        made = dataclasses.dataclass(init=False, repr=False, eq=False, **newer)(cls)
        fields = dataclasses.fields(made)
        methods = {"__init__": _init(made, fields), **_FOR_ALL, **_comparisons(fields, order=order)}
        for name, method in methods.items():
            if cls.__dict__.get(name) is None:  # a class with its own __eq__ has __hash__ = None
                setattr(made, name, method)
        return made

    return decorate


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _decorator


def _init(cls: type[Any], fields: Sequence[dataclasses.Field[Any]]) -> Callable[..., None]:
    """Return the method that takes the fields of a class, with their defaults, and sets them past `__setattr__`."""
    known: dict[str, Any] = {"__set": object.__setattr__, "__missing": dataclasses.MISSING}
    positional, named, body = ["self"], ["*"], []
    for field in fields:
        parameter = value = name = field.name
        if field.default is not dataclasses.MISSING:
            known[f"__default_{name}"] = field.default
            parameter = f"{name}=__default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            known[f"__make_{name}"] = field.default_factory
            parameter = f"{name}=__missing"
            value = f"__make_{name}() if {name} is __missing else {name}"
        (named if getattr(field, "kw_only", False) else positional).append(parameter)
        body.append(f"__set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = [*positional, *(named if named[1:] else ())]
    exec(f"def __init__({', '.join(parameters)}): {'; '.join(body or ['pass'])}", known)  # noqa: S102 - no other way to a signature
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _comparisons(fields: Sequence[dataclasses.Field[Any]], *, order: bool) -> dict[str, Callable[..., Any]]:
    """Return what compares two objects of one class by those of their fields that count."""
    values = _values([field.name for field in fields if field.compare])
    hashed = _values([field.name for field in fields if (field.compare if field.hash is None else field.hash)])
    words = ("eq", "lt", "le", "gt", "ge") if order else ("eq",)
    methods = {f"__{word}__": _compared(getattr(operator, word), values) for word in words}
    return {**methods, "__hash__": lambda self: hash(hashed(self))}


def _values(names: Sequence[str]) -> Callable[[Any], Any]:
    return operator.attrgetter(*names) if names else lambda _self: ()


def _compared(compare: Callable[[Any, Any], bool], values: Callable[[Any], Any]) -> Callable[[Any, object], bool]:
    def method(self: Any, other: object) -> bool:
        return compare(values(self), values(other)) if other.__class__ is self.__class__ else NotImplemented

    return method


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refuse_set(_self: object, name: str, _value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state):
        object.__setattr__(self, field.name, value)


_FOR_ALL: dict[str, Callable[..., Any]] = {
    "__repr__": _repr,
    "__setattr__": _refuse_set,
    "__delattr__": _refuse_delete,
    "__getstate__": _state,  # for copies, which would set one field after the other
    "__setstate__": _restore,
}
