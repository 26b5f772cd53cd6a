"""The native backend: a lock's step to an image in the store, offline, from blobs that are already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from repro_env.build.code import Code, CodeFile, code_layer, content_digest
from repro_env.build.entry import make_entry
from repro_env.build.gpu_code import CarriedCode, recorded_gpu_code, with_gpu_code
from repro_env.edges.report import Reporter
from repro_env.errors import BuildError
from repro_env.frozen import dataclass
from repro_env.image.oci import Image, is_complete, read_image, write_image
from repro_env.image.store import Store, canonical_json
from repro_env.lock.model import Environment, ImageRoot, Lock, LockedStep, Root, Wheel
from repro_env.lock.places import IMAGE_ROOTS, expand, input_place, input_variable, output_place, variable
from repro_env.values import Digest, Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built of one step on one platform: both manifests' digests."""

    step: str
    platform: Platform
    environment: Digest
    packaged: Digest  # the environment image with people's own packages on top; the same where there are none
    image: Digest
    reference: str
    size: int  # of the step image's layers, compressed, in bytes
    layers: int
    reused: bool  # the environment image was there already
    code: Code
    gpu_code: CarriedCode  # by the environment's wheels, as the lock is to say it


@dataclass(frozen=True, slots=True)
class Builder:
    """What building needs at hand. `workers` make layers at once; no digest depends on how many there are.

    With `update`, what is found of the wheels counts, and not what the lock says of them.
    """

    store: Store
    workers: int
    report: Reporter
    update: bool = False

    def build(self, lock: Lock, step: LockedStep, platform: Platform, code: Code, local: Sequence[Wheel] = ()) -> Built:
        """Build a step's environment image, if it is not there, and its step image.

        `local` are the wheels of people's own packages. The layers of an image base need not be in the store.

        Errors: `BuildError`, `IntegrityError`, `StoreError`.
        """
        recorded = step.environments[platform].image
        _check_sources(step, platform)
        reused = is_built(lock, step, platform, self.store)
        if recorded is not None and reused:
            base, digest = read_image(self.store, recorded), recorded
        else:
            from repro_env.build.environment import Assembler  # noqa: PLC0415 - what a rebuild does without

            made = Assembler(self.store, self.workers, self.report).assemble(lock, step, platform)
            base, digest = made.image, write_image(made.image, self.store)
            lock = with_gpu_code(lock, step.environments[platform], made.gpu_code, update=self.update)
        packaged = self._with_local(base, step, platform, local)
        image = step_image(lock, step, platform, packaged, code=code, store=self.store, local=local)
        return Built(
            step=step.name,
            platform=platform,
            environment=digest,
            packaged=write_image(packaged, self.store) if local else digest,
            image=write_image(image, self.store),
            reference=f"{lock.project}/{step.name}",
            size=image.size,
            layers=len(image.layers),
            reused=reused,
            code=code,
            gpu_code=recorded_gpu_code(lock, step.environments[platform]),
        )

    def _with_local(self, base: Image, step: LockedStep, platform: Platform, local: Sequence[Wheel]) -> Image:
        """Return the environment image with people's own packages, which change more often, in a layer above it."""
        if not local:
            return base
        from repro_env.build.environment import Assembler  # noqa: PLC0415 - what most rebuilds do without

        layer = Assembler(self.store, self.workers, self.report).local_layer(local, step, platform)
        return base.with_layers(layer)


def _check_sources(step: LockedStep, platform: Platform) -> None:
    """Check that nothing would be missing in the image. Errors: `BuildError`."""
    for package in step.environments[platform].sources:
        if package.wheel is None:
            why = f"step {step.name} takes it from its sources, and the lock records no wheel of it yet"
            raise BuildError(f"{package.name} has to be built first", why, f"run `repro build {step.name}`")


def is_built(lock: Lock, step: LockedStep, platform: Platform, store: Store) -> bool:
    """Whether a step's environment image is in the store as the lock records it, an image base's own layers aside."""
    recorded = step.environments[platform].image
    if recorded is None:
        return False
    root = lock.bases[step.base].roots[platform]
    beneath = {layer.digest for layer in root.layers} if isinstance(root, ImageRoot) else set()
    return is_complete(store, recorded, elsewhere=beneath)


def step_image(
    lock: Lock,
    step: LockedStep,
    platform: Platform,
    base: Image,
    *,
    code: Code,
    store: Store,
    local: Sequence[Wheel] = (),
) -> Image:
    """Return the environment image with the step's code, its slice of the lock and its command on top.

    Where the step asks anything of its machine, the image begins with what checks that.
    """
    entry = make_entry(lock, step, platform, base.env, store)
    document = canonical_json(step_document(lock, step, platform, local))
    layer = code_layer(code.files, document, store, needs=entry.needs)
    inputs, outputs = step_places(lock, step)
    named = {input_variable(name): place for name, place in inputs.items()}
    named |= {variable("OUTPUT", name): place for name, place in outputs.items()}
    return Image(
        platform=platform,
        layers=(*base.layers, *entry.layers, layer),
        env={**base.env, **entry.variables, **named, "REPRO_STEP": step.name, **step.variables},
        entrypoint=entry.entrypoint,
        command=expand(step.command, inputs=inputs, outputs=outputs),
        workdir=IMAGE_ROOTS.code,
        labels={"org.opencontainers.image.title": f"{lock.project}/{step.name}", **entry.labels},
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


def step_definition(
    lock: Lock,
    step: LockedStep,
    platform: Platform,
    files: Sequence[CodeFile],
    local: Mapping[str, Digest] = MappingProxyType({}),
) -> Digest:
    """Return the digest of all that a step is: its slice of the lock and its code, with or without an image.

    `local` are the digests of the sources of people's own packages, by name.
    Errors: `BuildError` when a file of the code has vanished, `StoreError` when it cannot be read.
    """
    code = {}
    for file in files:
        code[file.path] = [file.link or str(content_digest(file)), file.executable]
    packages = {"packages": {name: str(digest) for name, digest in local.items()}} if local else {}
    return Digest.of(canonical_json({"step": step_document(lock, step, platform), "code": code, **packages}))


def step_document(lock: Lock, step: LockedStep, platform: Platform, local: Sequence[Wheel] = ()) -> dict[str, Any]:
    """Return a step's slice of the lock as its image carries it: what was pinned, without where it came from.

    `local` are the wheels of people's own packages, which are not pinned but are in the image.
    """
    environment = step.environments[platform]
    root = lock.bases[step.base].roots[platform]
    return {
        "version": lock.version,
        "project": lock.project,
        "step": step.name,
        "platform": str(platform),
        "interpreter": environment.interpreter,
        **({"archive": environment.archive.sha256.hex} if environment.archive else {}),
        "command": list(step.command),
        "inputs": {name: str(lock.data[name].digest) if name in lock.data else "" for name in step.inputs},
        "outputs": dict(step.outputs),
        "network": step.network,
        **({"env": dict(step.variables)} if step.variables else {}),
        "wheels": [
            {"name": w.name, "version": w.version, "sha256": w.sha256.hex} for w in (*environment.wheels, *local)
        ],
        **_sources_document(environment),
        **_root_document(root),
    }


def _sources_document(environment: Environment) -> dict[str, Any]:
    found = [{"name": one.name, "version": one.version, "sha256": one.sha256.hex} for one in environment.sources]
    return {"sources": found} if found else {}


def _root_document(root: Root) -> dict[str, Any]:
    if isinstance(root, ImageRoot):
        return {"base": {"manifest": str(root.manifest), "cuda": dict(root.cuda)}}
    return {"debian": [{"name": p.name, "version": p.version, "sha256": p.sha256.hex} for p in root.packages]}
