"""`/etc/alternatives`, worked out from what maintainer scripts say in so many words.

A script's `update-alternatives --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]...` is read without being
run. A plain `NAME=value` and a loop over plain words are followed, conditions are taken to hold; a call whose words
come out of the script's own logic is left alone. Of several candidates the highest priority wins, as in automatic mode.
Source: update-alternatives(1).
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from repro_env.frozen import dataclass
from repro_env.image.debian.deb import Deb
from repro_env.image.debian.tree import Tree

_FOLDER = "etc/alternatives"
_DATABASE = "var/lib/dpkg/alternatives"
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z_]\w*)=(\"[^\"$`]*\"|'[^']*'|[^\s\"'$`;&|()]*)\s*;?\s*$", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
_LOOP = re.compile(r"^\s*(?:for\s+([A-Za-z_]\w*)\s+in\s+([^;]*)|while\b|until\b)", re.ASCII)
_DONE = re.compile(r"^\s*done\b")
_CALL = re.compile(r"update-alternatives\b(.*?--install\b.*)")
_ENDS = re.compile(r"\s*(?:\|\||&&|;|\||>|2>)")
_PRIORITY = re.compile(r"-?[0-9]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One candidate for a group: `link` is the generic name, `name` the group, `path` what it would lead to.

    `slaves` maps a name to the link and path that follow the group's choice.
    """

    link: str
    name: str
    path: str
    priority: int
    slaves: dict[str, tuple[str, str]] = field(default_factory=dict)


def read_alternatives(script: str) -> Iterator[Alternative]:
    """Yield the alternatives that a maintainer script installs by calls that can be read as they stand."""
    variables: dict[str, str] = {}
    loops: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n", " ", script).splitlines():
        assignment, loop, call = _ASSIGNMENT.match(line), _LOOP.match(line), _CALL.search(line)
        if assignment:
            variables[assignment[1]] = assignment[2].strip("\"'")
        elif loop and not line.rstrip().endswith("done"):
            loops.append((loop[1] or "", _words(loop[2] or "", variables)))
        elif _DONE.match(line) and loops:
            loops.pop()
        elif call and not line.lstrip().startswith("#"):
            text = _ENDS.split(call[1], maxsplit=1)[0]
            for turn in _turns(loops):
                found = _parse(_words(text, {**variables, **turn}))
                if found is not None:
                    yield found


def _turns(loops: Sequence[tuple[str, list[str]]]) -> Iterator[dict[str, str]]:
    """Yield what the loop variables are in each turn of the loops around a line."""
    named = [(name, words) for name, words in loops if name]
    for values in itertools.product(*(words for _name, words in named)):
        yield {name: value for (name, _words), value in zip(named, values, strict=True)}


def _words(text: str, variables: Mapping[str, str]) -> list[str]:
    """Return a command line's words; one that is nothing but an unknown variable is taken as empty."""
    filled = _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)
    try:
        words = [word for word in shlex.split(filled) if not _VARIABLE.fullmatch(word)]
    except ValueError:
        return []
    return [] if any(sign in word for word in words for sign in "$`*") else words


def _parse(words: Sequence[str]) -> Alternative | None:
    """Return the alternative that these words install, or None if they are not plain enough."""
    if "--install" not in words:
        return None
    rest = list(words[words.index("--install") + 1 :])
    if len(rest) < 4 or not _PRIORITY.match(rest[3]):  # noqa: PLR2004 - LINK NAME PATH PRIORITY
        return None
    link, name, path, priority = rest[:4]
    slaves = {}
    for place, word in enumerate(rest):
        if word == "--slave" and len(rest) > place + 3:
            slaves[rest[place + 2]] = (rest[place + 1], rest[place + 3])
    targets = [link, path, *(text for pair in slaves.values() for text in pair)]
    if not all(target.startswith("/") and "/../" not in target for target in targets):
        return None
    if any("/" in group or group.startswith(".") for group in (name, *slaves)):
        return None
    return Alternative(link=link, name=name, path=path, priority=int(priority), slaves=slaves)


def install_alternatives(tree: Tree, debs: Sequence[Deb]) -> None:
    """Make the links of every group that has a candidate in the tree, and dpkg's notes about them."""
    groups: dict[str, list[Alternative]] = defaultdict(list)
    for deb in sorted(debs, key=lambda deb: deb.name):
        for found in read_alternatives(deb.control.get("postinst", b"").decode(errors="replace")):
            if tree.find(found.path.lstrip("/")) is not None:
                groups[found.name].append(found)
    for name, candidates in sorted(groups.items()):
        best = max(candidates, key=lambda candidate: candidate.priority)
        _link(tree, best.link, name, best.path)
        for slave, (link, path) in sorted(best.slaves.items()):
            if tree.find(path.lstrip("/")) is not None:
                _link(tree, link, slave, path)
        tree.file(f"{_DATABASE}/{name}", _note(candidates).encode())


def _link(tree: Tree, link: str, name: str, path: str) -> None:
    """Let the generic `link` lead to `path` by way of `/etc/alternatives`; a real file in its place stays."""
    there = tree.at(link.lstrip("/"))
    if there is None or there.kind == "symlink":
        tree.symlink(f"{_FOLDER}/{name}", path)
        tree.symlink(link.lstrip("/"), f"/{_FOLDER}/{name}")


def _note(candidates: Sequence[Alternative]) -> str:
    """Return dpkg's record of a group in automatic mode: its links, then where each candidate leads them."""
    links = {slave: link for candidate in candidates for slave, (link, _path) in candidate.slaves.items()}
    lines = ["auto", candidates[0].link]
    for slave in sorted(links):
        lines += [slave, links[slave]]
    lines.append("")
    for candidate in sorted(candidates, key=lambda candidate: candidate.path):
        lines += [candidate.path, str(candidate.priority)]
        lines += [candidate.slaves.get(slave, ("", ""))[1] for slave in sorted(links)]
    return "\n".join([*lines, "", ""])
