"""Reading TOML text, with one kind of error whatever is wrong with it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")


class DocumentError(ValueError):
    """The text is not TOML. `line` counts from 1; 0 means that it is not known."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_document(text: str) -> dict[str, Any]:
    """Return the content of a TOML document; a byte order mark before it is passed over.

    Errors: `DocumentError`. Source: https://toml.io/en/v1.0.0
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError as error:
        raise DocumentError("values are nested too deeply", 0) from error
    except tomllib.TOMLDecodeError as error:
        raise _document_error(str(error), text) from error
    except ValueError as error:  # CPython's limit on the digits of an integer
        raise DocumentError("a number has too many digits", 0) from error


def _document_error(said: str, text: str) -> DocumentError:
    place = _PLACE.search(said)
    if place is None:
        return DocumentError(said, 0)
    line = int(place[1]) if place[1] else len(text.splitlines()) or 1
    message = said[: place.start()]
    return DocumentError(message[:1].lower() + message[1:], line)
