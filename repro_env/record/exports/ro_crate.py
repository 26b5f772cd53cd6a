"""A run as the metadata of a Process Run Crate: `ro-crate-metadata.json`, to stand at the top of the project.

There the paths in it are those of the project's own files, so that the project with its data is a valid crate.
Source: https://w3id.org/ro/crate/1.1, https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

from repro_env.record.exports.common import PRODUCER, Json, said, time_text, title
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.words import ended

_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_LICENCE = "Not recorded: the project's own terms apply"  # the profile wants one said
_STATUSES = {"succeeded": "CompletedActionStatus", "started": "ActiveActionStatus"}


def to_ro_crate(record: RunRecord) -> Json:
    """Return the JSON-LD document."""
    contents = [*map(_input, record.inputs), *(_output(made) for made in record.outputs)]
    return {
        "@context": [f"{_CRATE}/context", _TERMS],
        "@graph": [
            _descriptor(),
            _root(record, contents),
            {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
            _instrument(record),
            *_image(record),
            _action(record),
            *{part["@id"]: part for part in contents}.values(),
            *_parameters(record),
        ],
    }


def _descriptor() -> Json:
    return {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _CRATE},
    }


def _root(record: RunRecord, parts: list[Json]) -> Json:
    return said(
        {
            "@id": "./",
            "@type": "Dataset",
            "name": title(record),
            "description": f"One run of step {record.step}: {' '.join(record.command)}",
            "datePublished": _time(record.finished or record.started),
            "conformsTo": {"@id": _PROFILE},
            "license": _LICENCE,
            "hasPart": _references(parts),
            "mentions": {"@id": _action_id(record)},
        }
    )


def _action_id(record: RunRecord) -> str:
    return f"#{record.id}"


def _instrument_id(record: RunRecord) -> str:
    return f"#step-{record.step}"


def _references(parts: list[Json]) -> list[Json] | Json:
    """Return references to entities; to one, without a list, as compacted JSON-LD has it."""
    found = [{"@id": identifier} for identifier in dict.fromkeys(part["@id"] for part in parts)]
    return found[0] if len(found) == 1 else found


def _instrument(record: RunRecord) -> Json:
    git = record.git
    return said(
        {
            "@id": _instrument_id(record),
            "@type": "SoftwareApplication",
            "name": f"{record.project}/{record.step}",
            "softwareVersion": git.commit if git else str(record.definition or ""),
            "codeRepository": git.remote if git else "",
            "softwareRequirements": {"@id": f"{PRODUCER}{record.program}/"} if record.program else None,
        }
    )


def _image(record: RunRecord) -> Iterator[Json]:
    if record.image:
        yield said(
            {
                "@id": f"#image-{record.image.short}",
                "@type": "ContainerImage",
                "name": f"{record.project}-{record.step}",
                "additionalType": {"@id": "https://w3id.org/ro/terms/workflow-run#DockerImage"},
                "sha256": record.image.hex,
            }
        )


def _action(record: RunRecord) -> Json:
    failed = record.status in {"failed", "interrupted"}
    used = [*map(_input, record.inputs), *_parameters(record)]
    return said(
        {
            "@id": _action_id(record),
            "@type": "CreateAction",
            "name": f"{record.step}, {ended(record)}",
            "description": " ".join(record.command),
            "instrument": {"@id": _instrument_id(record)},
            "object": _references(used),
            "result": _references([_output(made) for made in record.outputs]),
            "startTime": _time(record.started),
            "endTime": _time(record.finished) if record.finished else "",
            "actionStatus": f"http://schema.org/{_STATUSES.get(record.status, 'FailedActionStatus')}",
            "error": ended(record) if failed else "",
            "containerImage": {"@id": f"#image-{record.image.short}"} if record.image else None,
        }
    )


def _time(time: datetime) -> str:
    """Return a time as the profile's own check wants it, with its offset in digits."""
    return time_text(time).replace("Z", "+00:00")


def _input(used: RecordedInput) -> Json:
    """Return an input as an entity. What another run made, or a path gave, is named by its content."""
    identifier = used.uri if "://" in used.uri else f"urn:sha256:{used.digest.hex}"
    identifier += "/" if used.kind == "directory" and not identifier.endswith("/") else ""
    return {"@id": identifier, **_content(used), "name": used.name}


def _output(made: RecordedOutput) -> Json:
    path = quote(made.path)
    return {"@id": f"{path}/" if made.kind == "directory" else path, **_content(made), "name": made.name}


def _content(content: RecordedInput | RecordedOutput) -> Json:
    if content.kind == "directory":
        return {"@type": "Dataset", "identifier": str(content.digest), "size": str(content.size)}
    return {"@type": "File", "contentSize": str(content.size), "sha256": content.digest.hex}


def _parameters(record: RunRecord) -> list[Json]:
    values = {"arguments": " ".join(record.arguments), **record.variables}
    return [
        {"@id": f"#parameter-{quote(name)}", "@type": "PropertyValue", "name": name, "value": value}
        for name, value in sorted(values.items())
        if value
    ]
