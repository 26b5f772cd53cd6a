"""A run as a CycloneDX 1.6 bill of materials: packages, image, driver, data in and out.

The packages are those of the run's own lock. Source: https://cyclonedx.org/docs/1.6/json/, and for package URLs
https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from repro_env.lock.model import DebianRoot, Environment, Lock, LockedStep
from repro_env.record.exports.common import Json, run_uuid, said, time_text
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.words import ended
from repro_env.values import Digest, Platform


def to_cyclonedx(record: RunRecord, lock: Lock | None) -> Json:
    """Return the bill of materials; without the run's lock it has no packages."""
    packages = list(_packages(record, lock)) if lock else []
    inputs, outputs = [_data("in", used) for used in record.inputs], [_data("out", made) for made in record.outputs]
    used = [*_machine(record), *_image(record), *packages, *inputs]
    run = f"run:{record.id}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{run_uuid(record.project, record.id)}",
        "version": 1,
        "metadata": {
            "timestamp": time_text(record.finished or record.started),
            "tools": {"components": [said({"type": "application", "name": "repro-env", "version": record.program})]},
            "component": {
                "type": "application",
                "bom-ref": run,
                "name": f"{record.project}/{record.step}",
                "version": record.id,
                "properties": _properties(record),
            },
        },
        "components": [*used, *outputs],
        "dependencies": [
            {"ref": run, "dependsOn": sorted(component["bom-ref"] for component in used)},
            *({"ref": made["bom-ref"], "dependsOn": [run]} for made in outputs),
        ],
    }


def _properties(record: RunRecord) -> list[Json]:
    values = {
        "repro:outcome": ended(record),
        "repro:command": " ".join(record.command),
        "repro:lock": str(record.lock or ""),
        "repro:definition": str(record.definition or ""),
        "repro:runtime": record.runtime,
        "repro:commit": record.git.commit if record.git else "",
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]


def _packages(record: RunRecord, lock: Lock) -> Iterator[Json]:
    step = lock.steps.get(record.step)
    chosen = _environment(record, step) if step else None
    if step is None or chosen is None:
        return
    platform, environment = chosen
    for wheel in environment.installed:
        purl = f"pkg:pypi/{wheel.name}@{quote(wheel.version, safe='')}"
        # One purl may stand for several wheels, so that each is told apart by its hash.
        reference = f"{purl}?checksum=sha256:{wheel.sha256.hex}"
        yield _library(reference, wheel.name, wheel.version, purl, wheel.sha256)
    root = lock.bases[step.base].roots.get(platform)
    for package in root.packages if isinstance(root, DebianRoot) else ():
        version = quote(package.version, safe="")
        purl = f"pkg:deb/debian/{package.name}@{version}?arch={package.architecture}"
        yield _library(purl, package.name, package.version, purl, package.sha256)


def _environment(record: RunRecord, step: LockedStep) -> tuple[Platform, Environment] | None:
    """Return the environment of the machine that the run was on."""
    machine = record.host.architecture if record.host else ""
    found = [pair for pair in step.environments.items() if pair[0].machine == machine]
    return found[0] if found else None


def _library(reference: str, name: str, version: str, purl: str, digest: Digest) -> Json:
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": _hashes(digest),
    }


def _image(record: RunRecord) -> Iterator[Json]:
    if record.image:
        yield {
            "type": "container",
            "bom-ref": f"image:{record.image}",
            "name": f"{record.project}-{record.step}",
            "version": str(record.image),
            "hashes": _hashes(record.image),
        }


def _machine(record: RunRecord) -> Iterator[Json]:
    """Yield the driver and the GPUs, each model once."""
    if record.machine and record.machine.driver:
        yield {
            "type": "device-driver",
            "bom-ref": "driver:nvidia",
            "name": "NVIDIA driver",
            "version": record.machine.driver,
        }
        models: Iterable[str] = sorted({gpu.name for gpu in record.machine.gpus if gpu.name})
        yield from ({"type": "device", "bom-ref": f"gpu:{name}", "name": name} for name in models)


def _data(direction: str, content: RecordedInput | RecordedOutput) -> Json:
    reference = f"data-{direction}:{content.name}"
    details = said(
        {
            "bom-ref": f"{reference}:contents",
            "type": "dataset",
            "name": content.name,
            "contents": {"url": content.uri} if isinstance(content, RecordedInput) and "://" in content.uri else None,
        }
    )
    return {
        "type": "data",
        "bom-ref": reference,
        "name": content.name,
        "version": str(content.digest),
        "hashes": _hashes(content.digest),
        "data": [details],
    }


def _hashes(digest: Digest) -> list[Json]:
    return [{"alg": "SHA-256", "content": digest.hex}]
