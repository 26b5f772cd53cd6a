"""`repro_env.frozen.dataclass` against the standard one: what both make of a class cannot be told apart."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import itertools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Self

import pytest

from repro_env import frozen

Decorator = Callable[..., Callable[[type[Any]], type[Any]]]


def made(dataclass: Decorator) -> dict[str, type[Any]]:
    """The same classes by either decorator: every kind that this program defines."""

    @dataclass(frozen=True, slots=True)
    class Name:
        """A checked value."""

        text: str

        def __post_init__(self) -> None:
            if not self.text:
                raise ValueError("a name has a letter at least")

        @classmethod
        def parse(cls, text: str) -> Self:
            return cls(text.strip())

    @dataclass(frozen=True, slots=True, order=True)
    class Pair:
        first: int
        second: str = "b"

        def __str__(self) -> str:
            return f"{self.first}/{self.second}"

    @dataclass(frozen=True, slots=True, kw_only=True, order=True)
    class Options:
        """All kinds of fields; the words that the methods are made with are names like any other."""

        missing: str = "?"
        self_: int
        values: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
        note: str = dataclasses.field(default="", compare=False, repr=False)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class More(Options):
        """Inherits fields."""

        extra: float = 0.5

    @dataclass(frozen=True, slots=True)
    class Folded:
        """Compares itself and shows itself in ways of its own."""

        text: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Folded) and self.text.lower() == other.text.lower()

        def __hash__(self) -> int:
            return hash(self.text.lower())

        def __repr__(self) -> str:
            return f"<{self.text}>"

    @dataclass(frozen=True, slots=True)
    class Nothing:
        """Has no field."""

    return {one.__name__: one for one in (Name, Pair, Options, More, Folded, Nothing)}


STANDARD, OURS = made(dataclasses.dataclass), made(frozen.dataclass)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Name", ("a",), {}),
    ("Name", (), {"text": "a"}),
    ("Name", ("",), {}),
    ("Name", (), {}),
    ("Name", ("a", "b"), {}),
    ("Pair", (1,), {}),
    ("Pair", (1, "c"), {}),
    ("Pair", (2, "a"), {}),
    ("Pair", (), {"second": "x", "first": 0}),
    ("Pair", (1,), {"third": 1}),
    ("Options", (1,), {}),
    ("Options", (), {"self_": 1}),
    ("Options", (), {"self_": 1, "note": "not compared"}),
    ("Options", (), {"self_": 2, "missing": "!", "values": {"a": 1}}),
    ("More", (), {"self_": 1}),
    ("More", (), {"self_": 1, "extra": 1.5}),
    ("Folded", ("A",), {}),
    ("Folded", ("a",), {}),
    ("Nothing", (), {}),
]


def outcome(action: Callable[[], Any]) -> Any:
    """What an action returns, or the error that it raises, by type and first words."""
    try:
        return action()
    except (TypeError, ValueError, AttributeError) as error:
        return type(error), str(error)


def making(
    classes: dict[str, type[Any]], name: str, given: tuple[Any, ...], named: dict[str, Any]
) -> Callable[[], Any]:
    new: Callable[..., Any] = classes[name]
    return functools.partial(new, *given, **named)


def objects(classes: dict[str, type[Any]]) -> list[Any]:
    found = (outcome(making(classes, *call)) for call in CALLS)
    return [one for one in found if type(one).__name__ in classes]


@pytest.mark.parametrize(("name", "given", "named"), CALLS)
def test_objects_are_made_and_shown_alike(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    def shown(classes: dict[str, type[Any]]) -> tuple[str, str]:
        one = outcome(making(classes, name, given, named))
        return repr(one), str(one)

    assert shown(OURS) == shown(STANDARD)


def test_objects_compare_alike() -> None:
    compare = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
    ours, standard = (list(itertools.product(objects(classes), repeat=2)) for classes in (OURS, STANDARD))
    assert len(ours) == len(standard) == 14**2
    for (one, other), (like_one, like_other) in zip(ours, standard, strict=True):
        for how in compare:
            assert outcome(functools.partial(how, one, other)) == outcome(
                functools.partial(how, like_one, like_other)
            ), (how, one, other)


def test_equal_objects_have_one_hash_and_what_holds_something_that_changes_has_none() -> None:
    for one, other in itertools.product(objects(OURS), repeat=2):
        if one == other:
            assert hash(one) == hash(other)
    for classes in (OURS, STANDARD):
        with pytest.raises(TypeError, match="unhashable"):
            hash(classes["Pair"]([1]))


@pytest.mark.parametrize("name", STANDARD)
def test_classes_tell_the_same_of_themselves(name: str) -> None:
    ours, standard = OURS[name], STANDARD[name]
    parameters = inspect.signature(ours).parameters
    expected = inspect.signature(standard).parameters
    assert [(one.name, one.kind) for one in parameters.values()] == [(one.name, one.kind) for one in expected.values()]
    assert [field.name for field in dataclasses.fields(ours)] == [field.name for field in dataclasses.fields(standard)]
    assert ours.__match_args__ == standard.__match_args__
    assert ours.__slots__ == standard.__slots__
    assert ours.__init__.__qualname__ == standard.__init__.__qualname__


@pytest.mark.parametrize("one", objects(OURS))
def test_objects_stay_as_they_are(one: Any) -> None:
    for name in (*(field.name for field in dataclasses.fields(one)), "unknown"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(one, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(one, name)
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("one", objects(OURS))
def test_objects_are_copied_and_replaced(one: Any) -> None:
    assert copy.copy(one) == copy.deepcopy(one) == dataclasses.replace(one) == one


def test_each_object_has_its_own_default() -> None:
    first, second = OURS["Options"](self_=1), OURS["Options"](self_=1)
    assert first.values == second.values
    assert first.values is not second.values


@pytest.mark.parametrize("words", [{"frozen": False, "slots": True}, {"frozen": True, "slots": False}])
def test_what_changes_is_not_for_it(words: dict[str, bool]) -> None:
    with pytest.raises(AssertionError):
        frozen.dataclass(**words)
