"""The order in which packages are unpacked: what a package depends on goes before it, as dpkg and apt arrange it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from repro_env.image.debian.control import Group
from repro_env.image.debian.deb import Deb


def unpack_order(debs: Iterable[Deb]) -> tuple[Deb, ...]:
    """Return the packages so that dependencies come first; where they form a circle, and among equals, by name.

    A `Pre-Depends` weighs more than a `Depends` (Policy 7.2): it is followed first, so that a circle is cut at a
    `Depends`.
    """
    packages = {deb.name: deb for deb in sorted(debs, key=lambda deb: deb.name)}
    providers = _providers(packages.values())
    ordered: dict[str, Deb] = {}
    entered: set[str] = set()

    def needs(deb: Deb) -> list[str]:
        return [*_targets(deb.relations("pre-depends"), providers), *_targets(deb.relations("depends"), providers)]

    for first, deb in packages.items():
        stack = [(first, iter(needs(deb)))] if first not in entered else []
        entered.add(first)
        while stack:
            name, rest = stack[-1]
            following = next((need for need in rest if need not in entered), None)
            if following is None:
                ordered[name] = packages[name]
                stack.pop()
            else:
                entered.add(following)
                stack.append((following, iter(needs(packages[following]))))
    return tuple(ordered.values())


def _providers(debs: Iterable[Deb]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for deb in debs:
        found[deb.name].insert(0, deb.name)
        for group in deb.relations("provides"):
            found[group[0].name].append(deb.name)
    return found


def _targets(groups: Iterable[Group], providers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the packages at hand that satisfy these groups, sorted."""
    return sorted({name for group in groups for relation in group for name in providers.get(relation.name, ())})
