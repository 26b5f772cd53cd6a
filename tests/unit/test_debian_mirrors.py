"""Where a user says that Debian's archives are."""

from __future__ import annotations

import pytest

from repro_env.cli.settings import mirrors
from repro_env.errors import UsageError


def test_a_template_for_the_snapshot_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_DEBIAN_SNAPSHOT", "https://snapshots.example/{archive}/{date}/")
    assert mirrors().snapshot == "https://snapshots.example/{archive}/{date}/"


@pytest.mark.parametrize(
    "template",
    [
        "https://a.example",
        "https://a.example/{date}",
        "{archive}/{date}/{x}",
        "{",
        "{}",
        "{date.x}{archive}",
        "{archive[a]}{date}",
    ],
)
def test_what_is_no_template_is_refused(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setenv("REPRO_DEBIAN_SNAPSHOT", template)
    with pytest.raises(UsageError, match="REPRO_DEBIAN_SNAPSHOT"):
        mirrors()
