"""OpenLineage events, posted to a service or appended to a file.

Source: https://openlineage.io/apidocs/openapi/, `POST /api/v1/lineage`; the file is as the client's file transport has
it, one event a line.
"""

from __future__ import annotations

from pathlib import Path

from repro_env.edges.files import os_errors
from repro_env.record.exports.common import Json, json_text
from repro_env.record.sending.base import Sender, exchange

_ENDPOINT = "api/v1/lineage"


class HttpLineage:
    """A service, such as Marquez, at `url`."""

    def __init__(self, url: str, sender: Sender) -> None:
        self._url = f"{url.rstrip('/')}/{_ENDPOINT}"
        self._sender = sender

    def send(self, document: Json) -> None:
        """Post one event. A service tells by the run's id and the event's time that it has it. Errors: `FetchError`."""
        exchange(self._sender, "POST", self._url, document)


class FileLineage:
    """A file with one event a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, document: Json) -> None:
        """Append one event, in one write, so that runs that end at once do not mix. Errors: `StoreError`."""
        line = json_text(document).encode()
        with os_errors(f"write to {self._path}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as stream:
                stream.write(line)
