"""Which packages a list of wishes amounts to.

A search that is deterministic and usually straight: what has only one way to be satisfied is taken first,
so that a choice between alternatives sees everything that is needed anyway; a choice prefers what is chosen already,
then the first alternative; and when a choice leads to a contradiction the next one is tried. Of each name only the
best version is considered, as apt does. `Essential` packages are not pulled in: nothing here runs a maintainer
script.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from repro_env.errors import ResolutionError
from repro_env.image.debian.control import Group, Relation
from repro_env.resolve.debian.package import BinaryPackage
from repro_env.resolve.debian.universe import Universe, provides

_ATTEMPTS = 20_000
"""How many alternatives are tried before giving up; a real base needs a few dozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a state is impossible: `package` (None: the user) and the relation of it that cannot hold."""

    package: BinaryPackage | None
    line: str
    missing: Relation | None = None


@dataclass(slots=True)
class _State:
    """A set of packages being built up."""

    chosen: dict[str, BinaryPackage] = field(default_factory=dict)
    parents: dict[str, tuple[BinaryPackage | None, Group]] = field(default_factory=dict)
    pending: deque[BinaryPackage] = field(default_factory=deque)
    choices: deque[tuple[BinaryPackage | None, Group]] = field(default_factory=deque)
    provided: dict[str, tuple[BinaryPackage, ...]] = field(default_factory=dict)
    against: dict[str, tuple[tuple[BinaryPackage, Relation], ...]] = field(default_factory=dict)

    def copy(self) -> _State:
        """Return a state that can be changed without changing this one."""
        return _State(
            dict(self.chosen),
            dict(self.parents),
            deque(self.pending),
            deque(self.choices),
            dict(self.provided),
            dict(self.against),
        )

    def add(self, package: BinaryPackage) -> None:
        """Take a package in, without looking at what it depends on."""
        self.chosen[package.name] = package
        for entry in package.provides:
            self.provided[entry.name] = (*self.provided.get(entry.name, ()), package)
        for (relation,) in package.against:
            self.against[relation.name] = (*self.against.get(relation.name, ()), (package, relation))

    def holds(self, group: Group) -> bool:
        """Whether something chosen, or about to be, satisfies the group."""
        return any(next(self.matching(relation), None) is not None for relation in group)

    def matching(self, relation: Relation) -> Iterator[BinaryPackage]:
        """Yield the chosen packages that are what a relation speaks of, by name or by what they provide."""
        own = self.chosen.get(relation.name)
        if own is not None and relation.accepts(own.version):
            yield own
        yield from (package for package in self.provided.get(relation.name, ()) if provides(package, relation))

    def contradiction(self, package: BinaryPackage) -> _Failure | None:
        """Return why `package` cannot stand beside what is chosen, or None."""
        for (relation,) in package.against:
            for other in self.matching(relation):
                if other.name != package.name:
                    return _Failure(package=package, line=f"{package} excludes {relation}, but {other} is needed too")
        for name in (package.name, *(entry.name for entry in package.provides)):
            for other, relation in self.against.get(name, ()):
                named = name == package.name and relation.accepts(package.version)
                if other.name != package.name and (named or provides(package, relation)):
                    return _Failure(package=package, line=f"{other}, which is needed too, excludes {relation}")
        return None


def solve(
    universe: Universe, wishes: Sequence[Group], *, fixed: Mapping[str, BinaryPackage], asker: str
) -> dict[str, BinaryPackage]:
    """Return every package that the wishes need, by name, `fixed` included, which is neither changed nor dropped.

    `asker` is who wishes, for messages: `base slim`. Errors: `ResolutionError` that tells the chain of packages from a
    wish to what cannot be had.
    """
    return _Search(universe, fixed, asker).run(wishes)


class _Search:
    """One search, with the choices that can still be changed."""

    def __init__(self, universe: Universe, fixed: Mapping[str, BinaryPackage], asker: str) -> None:
        self._universe = universe
        self._fixed = fixed
        self._asker = asker
        self._stack: list[tuple[_State, BinaryPackage | None, Group, Iterator[BinaryPackage]]] = []

    def run(self, wishes: Sequence[Group]) -> dict[str, BinaryPackage]:
        """Search to the end."""
        state = _State()
        for package in self._fixed.values():
            state.add(package)
        failure = self._demand(state, None, wishes) or self._propagate(state)
        first: tuple[_Failure, _State] | None = None
        for _attempt in range(_ATTEMPTS):
            if failure is None:
                if not self._choose(state):
                    return state.chosen
            elif first is None:
                first = failure, state
            following = self._next_state()
            if following is None:
                break
            state = following
            failure = self._propagate(state)
        assert first is not None
        raise self._error(*first)

    def _choose(self, state: _State) -> bool:
        """Open the first choice that is not satisfied yet; False if none is left."""
        while state.choices:
            parent, group = state.choices.popleft()
            if not state.holds(group):
                self._stack.append((state, parent, group, iter(self._options(group))))
                return True
        return False

    def _next_state(self) -> _State | None:
        """Return a copy of the latest open choice's state with its next option pending, or None if all are used up."""
        while self._stack:
            state, parent, group, options = self._stack[-1]
            option = next(options, None)
            if option is None:
                self._stack.pop()
                continue
            state = state.copy()
            self._expect(state, option, parent, group)
            return state
        return None

    def _propagate(self, state: _State) -> _Failure | None:
        """Take in everything pending and what it needs for certain; return what is impossible, if anything is."""
        while state.pending:
            package = state.pending.popleft()
            if package.name in state.chosen:
                continue
            failure = state.contradiction(package)
            if failure is None:
                state.add(package)
                failure = self._demand(state, package, package.depends)
            if failure is not None:
                return failure
        return None

    def _demand(self, state: _State, parent: BinaryPackage | None, groups: Sequence[Group]) -> _Failure | None:
        for group in groups:
            if state.holds(group):
                continue
            options = self._options(group)
            if not options:
                return self._unsatisfiable(parent, group)
            if len(options) == 1:
                self._expect(state, options[0], parent, group)
            else:
                state.choices.append((parent, group))
        return None

    @staticmethod
    def _expect(state: _State, package: BinaryPackage, parent: BinaryPackage | None, group: Group) -> None:
        state.parents.setdefault(package.name, (parent, group))
        state.pending.append(package)

    def _options(self, group: Group) -> list[BinaryPackage]:
        found = {package.name: package for relation in group for package in self._universe.options(relation)}
        return [package for package in found.values() if self._fixed.get(package.name, package) is package]

    def _unsatisfiable(self, parent: BinaryPackage | None, group: Group) -> _Failure:
        who = parent or self._asker
        wanted = " | ".join(map(str, group))
        there = [str(own) for relation in group if (own := self._universe.candidate(relation.name))]
        found = f"the suite has {', '.join(there)}" if there else "the suite has no such package"
        return _Failure(package=parent, line=f"{who} needs {wanted}: {found}", missing=None if there else group[0])

    def _error(self, failure: _Failure, state: _State) -> ResolutionError:
        """Return the failure with the way that led there, from the wish down."""
        lines = [failure.line]
        wish = failure.missing.name if failure.package is None and failure.missing else ""
        package = failure.package
        while package is not None and package.name in state.parents:
            parent, group = state.parents[package.name]
            lines.append(f"{parent or self._asker} needs {' | '.join(map(str, group))}")
            wish = package.name
            package = parent
        near = self._universe.nearest(failure.missing.name) if failure.missing else []
        hint = f"did you mean {', '.join(near)}?" if near else ""
        return ResolutionError(f"{self._asker}: {wish} cannot be installed", "\n".join(reversed(lines)), hint)
