"""What a registry's answer means when it is not the one hoped for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from repro_env.edges.http import NotFoundError
from repro_env.errors import FetchError
from repro_env.image.registry.authority import DENIED_HINT

if TYPE_CHECKING:
    from repro_env.edges.http_client import Answer

_DENIED = frozenset({401, 403})
_ABSENT = 404
_SHOWN = 500  # characters of a message


def refusal(answer: Answer, *, action: str, registry: str) -> FetchError:
    """Return the error for an answer that refuses: `cannot ACTION`, with what the registry says.

    Source: OCI distribution specification 1.1, "Error Codes".
    """
    said = _messages(answer.body)
    why = "\n".join([f"{registry} answered {answer.status} {answer.reason}".rstrip(), *said])
    if answer.status in _DENIED:
        return FetchError(f"cannot {action}", why, DENIED_HINT.format(registry=registry))
    if answer.status == _ABSENT:
        return NotFoundError(f"cannot {action}", why)
    return FetchError(f"cannot {action}", why)


def _messages(body: bytes) -> list[str]:
    try:
        errors = json.loads(body)["errors"]
        return [f"{error.get('code', '')}: {error.get('message', '')}"[:_SHOWN].strip(" :") for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
