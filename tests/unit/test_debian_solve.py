from __future__ import annotations

import pytest
from debmaker import stanza_of

from repro_env.errors import IntegrityError, ResolutionError
from repro_env.image.debian.control import parse_relations
from repro_env.resolve.debian.solve import solve
from repro_env.resolve.debian.universe import Universe


def universe(*stanzas: str, more: tuple[str, ...] = (), pinned: dict[str, str] | None = None) -> Universe:
    indexes = ["\n".join(stanzas).encode(), *(["\n".join(more).encode()] if more else [])]
    return Universe(indexes, "amd64", pinned)


def chosen(world: Universe, wishes: str, fixed: str = "") -> dict[str, str]:
    before = solve(world, parse_relations(fixed, "amd64"), fixed={}, asker="base slim") if fixed else {}
    found = solve(world, parse_relations(wishes, "amd64"), fixed=before, asker="base slim")
    return {name: package.version for name, package in sorted(found.items())}


def names(world: Universe, wishes: str, fixed: str = "") -> list[str]:
    return list(chosen(world, wishes, fixed))


def failure(world: Universe, wishes: str, fixed: str = "") -> str:
    with pytest.raises(ResolutionError) as caught:
        chosen(world, wishes, fixed)
    return str(caught.value)


def test_dependencies_of_dependencies() -> None:
    world = universe(
        stanza_of("a", Depends="b (>= 1)", Pre_Depends="c"),
        stanza_of("b", Depends="c, a"),
        stanza_of("c"),
        stanza_of("d"),
    )
    assert names(world, "a") == ["a", "b", "c"]


def test_the_newest_version_of_all_indexes_is_taken() -> None:
    world = universe(stanza_of("a", "1.9"), more=(stanza_of("a", "1.10"),))
    assert chosen(world, "a") == {"a": "1.10"}


def test_a_pinned_version_goes_before_a_newer_one() -> None:
    world = universe(stanza_of("a", "1.9"), more=(stanza_of("a", "1.10"),), pinned={"a": "1.9", "b": "7"})
    assert chosen(world, "a") == {"a": "1.9"}


def test_the_first_alternative_is_preferred() -> None:
    world = universe(stanza_of("a", Depends="x | y"), stanza_of("x"), stanza_of("y"))
    assert names(world, "a") == ["a", "x"]


def test_an_alternative_that_is_needed_anyway_is_preferred_wherever_it_stands() -> None:
    stanzas = (stanza_of("a", Depends="x | y"), stanza_of("b", Depends="c"), stanza_of("c", Depends="y"))
    world = universe(*stanzas, stanza_of("x"), stanza_of("y"))
    assert names(world, "a, b") == names(world, "b, a") == ["a", "b", "c", "y"]


def test_an_alternative_that_cannot_be_had_is_passed_over() -> None:
    world = universe(stanza_of("a", Depends="x | y"), stanza_of("x", Depends="nothing"), stanza_of("y"))
    assert names(world, "a") == ["a", "y"]


def test_an_alternative_whose_version_does_not_fit_is_passed_over() -> None:
    world = universe(stanza_of("a", Depends="x (>= 2) | y"), stanza_of("x", "1"), stanza_of("y"))
    assert names(world, "a") == ["a", "y"]


def test_a_choice_is_changed_when_it_leads_to_a_conflict_later() -> None:
    world = universe(
        stanza_of("a", Depends="x | y"),
        stanza_of("b", Depends="p | q"),
        stanza_of("x"),
        stanza_of("y"),
        stanza_of("p", Conflicts="x"),
        stanza_of("q", Breaks="x"),
    )
    assert names(world, "a, b") == ["a", "b", "p", "y"]


def test_a_virtual_package_is_provided_by_priority_then_name() -> None:
    world = universe(
        stanza_of("a", Depends="awk"),
        stanza_of("gawk", Provides="awk", Priority="optional"),
        stanza_of("mawk", Provides="awk", Priority="required"),
        stanza_of("bawk", Provides="awk", Priority="optional"),
    )
    assert names(world, "a") == ["a", "mawk"]


def test_what_provides_without_version_satisfies_no_versioned_relation() -> None:
    world = universe(stanza_of("a", Depends="v (>= 1)"), stanza_of("p", Provides="v"))
    assert "needs v (>= 1)" in failure(world, "a")


def test_a_versioned_provides_is_compared() -> None:
    world = universe(
        stanza_of("a", Depends="v (>= 2)"), stanza_of("p", Provides="v (= 1)"), stanza_of("q", Provides="v (= 2.1)")
    )
    assert names(world, "a") == ["a", "q"]


def test_a_real_package_goes_before_what_provides_its_name() -> None:
    world = universe(stanza_of("a", Depends="v"), stanza_of("v"), stanza_of("p", Provides="v", Priority="required"))
    assert names(world, "a") == ["a", "v"]


def test_a_package_may_conflict_with_what_it_provides_itself() -> None:
    world = universe(stanza_of("a", Provides="mta", Conflicts="mta"), stanza_of("b", Provides="mta", Conflicts="mta"))
    assert names(world, "a") == ["a"]
    assert "excludes mta" in failure(world, "a, b")


def test_breaks_of_other_versions_do_not_matter() -> None:
    world = universe(stanza_of("a", Breaks="b (<< 1)"), stanza_of("b", "1"))
    assert names(world, "a, b") == ["a", "b"]


def test_qualifiers() -> None:
    world = universe(stanza_of("a", Depends="p:any, q:amd64"), stanza_of("p", Architecture="all"), stanza_of("q"))
    assert names(world, "a") == ["a", "p", "q"]
    assert "needs q:arm64" in failure(world, "q:arm64")


def test_essential_packages_are_not_pulled_in() -> None:
    world = universe(stanza_of("a"), stanza_of("e", Essential="yes"))
    assert names(world, "a") == ["a"]


def test_what_is_fixed_stays() -> None:
    world = universe(stanza_of("a", Depends="x | y"), stanza_of("b", Depends="y | x"), stanza_of("x"), stanza_of("y"))
    assert names(world, "b", fixed="a") == ["a", "b", "x"]


def test_a_conflict_with_what_is_fixed_names_both() -> None:
    world = universe(stanza_of("a"), stanza_of("b", Conflicts="a"))
    assert failure(world, "b", fixed="a") == (
        "base slim: b cannot be installed\n  base slim needs b\n  b 1.0-1 excludes a, but a 1.0-1 is needed too"
    )


def test_a_failure_tells_the_chain() -> None:
    world = universe(
        stanza_of("a", Depends="b | c"),
        stanza_of("b", Depends="d (>= 2)"),
        stanza_of("c", Depends="zz"),
        stanza_of("d"),
    )
    assert failure(world, "a") == (
        "base slim: a cannot be installed\n"
        "  base slim needs a\n"
        "  a 1.0-1 needs b | c\n"
        "  b 1.0-1 needs d (>= 2): the suite has d 1.0-1"
    )


def test_an_unknown_name_gets_the_nearest() -> None:
    world = universe(stanza_of("libgomp1"), stanza_of("libgmp10"), stanza_of("bash"))
    text = failure(world, "libgompp1")
    assert text.startswith("base slim: libgompp1 cannot be installed")
    assert "hint: did you mean libgomp1, libgmp10?" in text


def test_the_order_of_an_index_and_of_wishes_changes_nothing() -> None:
    stanzas = [
        stanza_of("a", Depends="v, x | y"),
        stanza_of("b", Depends="y | x"),
        *(stanza_of(name, Provides="v") for name in ("p", "q", "r")),
        stanza_of("x", Conflicts="p"),
        stanza_of("y"),
    ]
    expected = chosen(universe(*stanzas), "a, b")
    assert chosen(universe(*reversed(stanzas)), "a, b") == expected


def test_a_hard_puzzle_ends() -> None:
    """Whatever the thirty choices before it are, the last one fails: the search gives up before trying 2**30 ways."""
    stanzas = [stanza_of(f"c{n}", Depends=f"l{n} | r{n}") for n in range(30)]
    stanzas += [stanza_of(f"{side}{n}") for n in range(30) for side in "lr"]
    world = universe(
        *stanzas, stanza_of("z", Depends="p | q"), stanza_of("p", Depends="no"), stanza_of("q", Depends="no")
    )
    assert "needs no" in failure(world, ", ".join(f"c{n}" for n in range(30)) + ", z")


def test_a_damaged_stanza_is_named() -> None:
    world = universe("Package: a\nVersion: 1\nArchitecture: all\n")
    with pytest.raises(IntegrityError, match="a package index cannot be read"):
        names(world, "a")
