"""The native backend: a lock's step to an image in the store, offline, from blobs that are already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro_env.build.code import Code, CodeFile, code_layer, reading
from repro_env.edges.report import Reporter
from repro_env.image.oci import Image, is_complete, read_image, write_image
from repro_env.image.store import Store, canonical_json
from repro_env.lock.model import ImageRoot, Lock, LockedStep, Root
from repro_env.lock.places import IMAGE_ROOTS, expand, input_place, output_place, variable
from repro_env.values import Digest, Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built of one step on one platform: both manifests' digests."""

    step: str
    platform: Platform
    environment: Digest
    image: Digest
    reference: str
    size: int  # of the step image's layers, compressed, in bytes
    layers: int
    reused: bool  # the environment image was there already
    code: Code


@dataclass(frozen=True, slots=True)
class Builder:
    """What building needs at hand. `workers` make layers at once; no digest depends on how many there are."""

    store: Store
    workers: int
    report: Reporter

    def build(self, lock: Lock, step: LockedStep, platform: Platform, code: Code) -> Built:
        """Build a step's environment image, if it is not there, and its step image.

        The layers of an image base need not be in the store.

        Errors: `BuildError`, `IntegrityError`, `StoreError`.
        """
        recorded = step.environments[platform].image
        reused = is_built(lock, step, platform, self.store)
        if recorded is not None and reused:
            base, digest = read_image(self.store, recorded), recorded
        else:
            from repro_env.build.environment import Assembler  # noqa: PLC0415 - what a rebuild does without

            base = Assembler(self.store, self.workers, self.report).image(lock, step, platform)
            digest = write_image(base, self.store)
        image = step_image(lock, step, platform, base, code=code, store=self.store)
        return Built(
            step=step.name,
            platform=platform,
            environment=digest,
            image=write_image(image, self.store),
            reference=f"{lock.project}/{step.name}",
            size=image.size,
            layers=len(image.layers),
            reused=reused,
            code=code,
        )


def is_built(lock: Lock, step: LockedStep, platform: Platform, store: Store) -> bool:
    """Whether a step's environment image is in the store as the lock records it, an image base's own layers aside."""
    recorded = step.environments[platform].image
    if recorded is None:
        return False
    root = lock.bases[step.base].roots[platform]
    beneath = {layer.digest for layer in root.layers} if isinstance(root, ImageRoot) else set()
    return is_complete(store, recorded, elsewhere=beneath)


def step_image(lock: Lock, step: LockedStep, platform: Platform, base: Image, *, code: Code, store: Store) -> Image:
    """Return the environment image with the step's code, its slice of the lock and its command on top."""
    layer = code_layer(code.files, canonical_json(step_document(lock, step, platform)), store)
    inputs, outputs = step_places(lock, step)
    named = {variable("INPUT", name): place for name, place in inputs.items()}
    named |= {variable("OUTPUT", name): place for name, place in outputs.items()}
    image = base.with_layers(layer)
    return Image(
        platform=platform,
        layers=image.layers,
        env={**base.env, **named, "REPRO_STEP": step.name, **step.env},
        command=expand(step.command, inputs=inputs, outputs=outputs),
        workdir=IMAGE_ROOTS.code,
        labels={"org.opencontainers.image.title": f"{lock.project}/{step.name}"},
        user=base.user,
    )


def step_places(lock: Lock, step: LockedStep) -> tuple[dict[str, str], dict[str, str]]:
    """Return where a step's inputs and outputs stand in its image, by name."""
    inputs = {}
    for name in step.inputs:
        upstream, _, output = name.partition(".")
        declared = lock.steps[upstream].outputs[output] if output else lock.data[name].path
        inputs[name] = input_place(IMAGE_ROOTS, name, declared)
    return inputs, {name: output_place(IMAGE_ROOTS, path) for name, path in step.outputs.items()}


def step_definition(lock: Lock, step: LockedStep, platform: Platform, files: Sequence[CodeFile]) -> Digest:
    """Return the digest of all that a step is: its slice of the lock and its code, with or without an image.

    Errors: `BuildError` when a file of the code has vanished, `StoreError` when it cannot be read.
    """
    code = {}
    for file in files:
        with reading(file.path):
            content = file.link or str(Digest.of(file.source.read_bytes()))
        code[file.path] = [content, file.executable]
    return Digest.of(canonical_json({"step": step_document(lock, step, platform), "code": code}))


def step_document(lock: Lock, step: LockedStep, platform: Platform) -> dict[str, Any]:
    """Return a step's slice of the lock as its image carries it: what was pinned, without where it came from."""
    environment = step.environments[platform]
    root = lock.bases[step.base].roots[platform]
    return {
        "version": lock.version,
        "project": lock.project,
        "step": step.name,
        "platform": str(platform),
        "interpreter": environment.interpreter,
        "command": list(step.command),
        "inputs": {name: str(lock.data[name].digest) if name in lock.data else "" for name in step.inputs},
        "outputs": dict(step.outputs),
        "network": step.network,
        "wheels": [{"name": w.name, "version": w.version, "sha256": w.sha256.hex} for w in environment.wheels],
        **_root_document(root),
    }


def _root_document(root: Root) -> dict[str, Any]:
    if isinstance(root, ImageRoot):
        return {"base": {"manifest": str(root.manifest), "cuda": dict(root.cuda)}}
    return {"debian": [{"name": p.name, "version": p.version, "sha256": p.sha256.hex} for p in root.packages]}
