"""A small, complete lock for tests of what reads, writes and compares locks."""

from __future__ import annotations

from dataclasses import replace

from repro_env.lock.cuda import cuda_facts
from repro_env.lock.model import (
    DebianPackage,
    DebianRoot,
    DebianSource,
    Environment,
    ImageLayer,
    ImageRoot,
    Interpreter,
    Lock,
    LockedBase,
    LockedData,
    LockedStep,
    Wheel,
)
from repro_env.values import Digest, Platform, PythonVersion

AMD64 = Platform("amd64")
ARM64 = Platform("arm64")


def digest(text: str) -> Digest:
    """Return a digest that is its own."""
    return Digest.of(text.encode())


def wheel(name: str, version: str, *, content: str = "") -> Wheel:
    """Return a pure wheel; `content` makes another file of the same version."""
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    url = f"https://files.example/{file}"
    return Wheel(name=name, version=version, file=file, url=url, sha256=digest(file + content), size=1000 + len(file))


def interpreter(version: str = "3.12.11", machine: str = "x86_64") -> Interpreter:
    """Return a Python that a step brings along."""
    file = f"cpython-{version}%2B20250712-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"
    url = f"https://releases.example/20250712/{file}"
    return Interpreter(version=version, url=url, sha256=digest(file), size=30_000_000)


def debian_package(name: str, version: str, *, architecture: str = "amd64", extra: bool = False) -> DebianPackage:
    """Return a pinned `.deb`."""
    file = f"{name}_{version}_{architecture}.deb"
    return DebianPackage(
        name=name,
        version=version,
        architecture=architecture,
        url=f"http://deb.example/debian/pool/main/{name[0]}/{name}/{file}",
        sha256=digest(file),
        size=2000 + len(file),
        extra=extra,
    )


def root(architecture: str = "amd64") -> DebianRoot:
    """Return a base's pins on one platform."""
    suites = ("bookworm", "bookworm-security")
    return DebianRoot(
        glibc="2.36",
        python="3.11.2",
        sources=tuple(
            DebianSource(
                url="http://deb.example/debian",
                suite=suite,
                component="main",
                date="20250131T120000Z",
                release=digest(f"InRelease {suite}"),
                index=digest(f"Packages {suite} {architecture}"),
            )
            for suite in suites
        ),
        packages=(
            debian_package("libc6", "2.36-9+deb12u9", architecture=architecture),
            debian_package("libgomp1", "12.2.0-14", architecture=architecture, extra=True),
            debian_package("tzdata", "2025a-0+deb12u1", architecture="all"),
        ),
    )


def debian_root(base: LockedBase, platform: Platform) -> DebianRoot:
    """Return a base's pins on one platform, which are of Debian packages."""
    found = base.roots[platform]
    assert isinstance(found, DebianRoot)
    return found


def image_root() -> ImageRoot:
    """Return an image base's pins on one platform."""
    layers = tuple(
        ImageLayer(
            media_type=f"application/vnd.oci.image.layer.v1.tar+{kind}",
            digest=digest(f"layer {kind}"),
            size=1 << 20,
            diff_id=digest(f"tar {kind}"),
        )
        for kind in ("gzip", "zstd")
    )
    return ImageRoot(
        manifest=digest("manifest"),
        config=digest("config"),
        glibc="2.39",
        python="3.12.3",
        interpreter="/usr/bin/python3.12",
        layers=layers,
        user="ubuntu",
        env={"PATH": "/usr/local/cuda/bin:/usr/bin", "CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12.8"},
    )


def image_base() -> LockedBase:
    """Return a base that is an image."""
    roots = {AMD64: image_root()}
    return LockedBase(name="cuda", image="nvcr.io/nvidia/cuda:12.8.1", index=digest("index"), roots=roots)


def churn(platforms: tuple[Platform, ...] = (AMD64,)) -> Lock:
    """Return a lock of two steps that need contradicting versions of numpy."""
    numpy, numpy2, six = wheel("numpy", "1.26.4"), wheel("numpy", "2.1.0"), wheel("six", "1.17.0")
    clean = LockedStep(
        name="clean",
        base="slim",
        python=PythonVersion(11),
        command=("python", "clean.py", "{data.raw}", "{output.table}"),
        inputs=("raw",),
        outputs={"table": "build/table.parquet"},
        code=("clean.py",),
        environments={
            platform: Environment(interpreter="3.11.2", wheels=(numpy, six), image=digest(f"image {platform}"))
            for platform in platforms
        },
    )
    train = LockedStep(
        name="train",
        base="slim",
        python=PythonVersion(11),
        command=("python", "train.py", "{output.table@clean}", "{output.model}", 'say "hi"\n'),
        inputs=("clean.table",),
        outputs={"model": "build/model.pt", "log": "build/日誌.txt"},
        env={"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "A": "\\ \t é \x7f"},
        network=True,
        environments={platform: Environment(interpreter="3.11.2", wheels=(numpy2, six)) for platform in platforms},
    )
    raw = LockedData(name="raw", path="data/raw", kind="directory", digest=digest("raw"), files=3, size=4096)
    names = ("base.slim", "data.raw", "step.clean", "step.clean.python", "step.train", "step.train.python")
    return Lock(
        project="churn",
        inputs={name: digest(name) for name in names},
        bases={
            "slim": LockedBase(
                name="slim", suite="bookworm", roots={platform: root(platform.debian) for platform in platforms}
            )
        },
        steps={"train": train, "clean": clean},
        data={"raw": raw},
    )


def with_cuda(runtime: str = "12.8.90", nccl: str = "2.26.2") -> Lock:
    """Return the lock with a CUDA runtime, NCCL, and torch made for CUDA 12.6 in step `train`."""
    lock = churn()
    step = lock.steps["train"]
    found = step.environments[AMD64]
    added = (
        wheel("nvidia-cuda-runtime-cu12", runtime),
        wheel("nvidia-nccl-cu12", nccl),
        wheel("torch", "2.7.0+cu126"),
    )
    environment = replace(found, wheels=tuple(sorted((*found.wheels, *added))))
    environment = replace(environment, cuda=cuda_facts(environment.versions, {}))
    return replace(lock, steps={**lock.steps, "train": replace(step, environments={AMD64: environment})})
