"""A small, complete lock for tests of what reads, writes and compares locks."""

from __future__ import annotations

from repro_env.lock.model import (
    DebianPackage,
    DebianRoot,
    DebianSource,
    Environment,
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
