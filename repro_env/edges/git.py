"""git, led to a repository by its arguments alone."""

from __future__ import annotations

from collections.abc import Mapping

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


def git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for git in which it asks no person, and finds no other repository than it is told of."""
    kept = {name: value for name, value in environ.items() if name not in _LEADING}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
