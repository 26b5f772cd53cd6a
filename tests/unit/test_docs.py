"""The documentation is of this program: commands, exit statuses, links."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import repro_env.run.execute  # noqa: F401 - its error has a status of its own
from repro_env.errors import ReproError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

sys.path.insert(0, str(ROOT / "tools"))

from write_reference import PAGE, reference  # noqa: E402 - a tool, not a package


def test_commands_are_as_documented() -> None:
    assert reference() == PAGE.read_text(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", page.read_text())
    own = [(page.parent / link if link else page, anchor) for link, anchor in links if "://" not in link]
    assert [str(target) for target, _anchor in own if not target.exists()] == []
    assert [(str(target), anchor) for target, anchor in own if anchor and anchor not in _anchors(target)] == []


def _anchors(page: Path) -> set[str]:
    """Return what the headings of a page are called in links, as GitHub has it."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _kinds(kind: type[ReproError]) -> set[type[ReproError]]:
    return {kind}.union(*map(_kinds, kind.__subclasses__()))


def test_every_exit_status_is_documented() -> None:
    text = (ROOT / "docs/reference/exit-status.md").read_text()
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    for kind in _kinds(ReproError):
        assert kind.exit_status in documented, kind
        assert kind.exec_status in range(120, 126), kind
        assert kind.exec_status in documented, kind
