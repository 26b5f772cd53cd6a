"""git, led to a repository by its arguments alone."""

from __future__ import annotations

from collections.abc import Mapping

from repro_env.edges import process

_LEADING = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""Variables by which git tells a hook's children which repository they are in, and which win over `-C`.
Source: git(1), "Environment Variables"."""


_KEPT = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
"""Beginnings of variables that say what git is to heed, and where it may look, but neither which repository is meant
nor how answers are written."""


def git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for git in which it asks no person, and finds no other repository than it is told of."""
    kept = {name: value for name, value in environ.items() if name not in _LEADING}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


def local_git_environment(**own: str) -> dict[str, str]:
    """Return an environment for git to read a repository of this machine; `own` are variables of git's for this once.

    Nobody else's variables change what it says, and it takes no lock that another git would wait for.
    """
    found = process.base_environment()
    kept = {name: value for name, value in found.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **own}
