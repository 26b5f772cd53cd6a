"""Any lock survives being written and read, and the text is one for one lock."""

from __future__ import annotations

import contextlib
import random
import tomllib
from dataclasses import replace
from typing import Any

import locks
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.config.checks import SET_VARIABLES
from repro_env.config.lines import KeyPath, key_lines
from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.versions import VersionRange
from repro_env.errors import LockError
from repro_env.lock.canonical import read_canonical
from repro_env.lock.cuda import CudaCompat, CudaFacts, CudaLibrary
from repro_env.lock.determinism import SETTINGS
from repro_env.lock.dump import dump_lock
from repro_env.lock.gpu_code import GpuCode, sorted_amd, sorted_ptx, sorted_sass
from repro_env.lock.model import (
    BuiltWheel,
    DebianPackage,
    DebianRoot,
    DebianSource,
    Environment,
    ImageLayer,
    ImageRoot,
    Interpreter,
    LocalPackage,
    Lock,
    LockedBase,
    LockedData,
    LockedStep,
    SourcePackage,
    Wheel,
)
from repro_env.lock.parse import parse_lock
from repro_env.values import Digest, Platform, PythonVersion

TEXT = dump_lock(locks.churn((locks.AMD64, locks.ARM64)))

names = st.from_regex(r"[a-z0-9]{1,4}((_|__|-|--)[a-z0-9]{1,2}){0,2}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
paths = st.from_regex(r"[a-zé]{1,4}(/[a-z .'\"é]{0,3}[a-z]){0,2}", fullmatch=True)
digests = st.binary(min_size=1, max_size=4).map(Digest.of)
sizes = st.integers(0, 2**53)
platforms = st.sampled_from([Platform("amd64"), Platform("arm64")])
package_words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.!+:~_-]{0,5}", fullmatch=True)
variables = st.from_regex(r"[A-Za-z_][A-Z0-9_]{0,3}", fullmatch=True)
strings = texts.filter(lambda text: "\0" not in text)
words = st.lists(strings, max_size=4).map(tuple)
package_names = st.from_regex(r"[a-z0-9]{1,3}(-[a-z0-9]{1,2})?", fullmatch=True)
wheels = st.builds(
    Wheel,
    name=package_names,
    version=package_words,
    file=st.from_regex(r"[A-Za-zé_ .-]{1,9}\.whl", fullmatch=True),
    url=texts,
    sha256=digests,
    size=sizes,
)
debian_packages = st.builds(
    DebianPackage,
    name=package_words,
    version=package_words,
    architecture=package_words,
    url=texts,
    sha256=digests,
    size=sizes,
    extra=st.booleans(),
)
sources = st.builds(
    DebianSource,
    url=texts,
    suite=texts,
    component=texts,
    date=st.just("20250131T120000Z"),
    release=digests,
    index=digests,
)
roots = st.builds(
    DebianRoot,
    glibc=texts,
    python=texts,
    sources=st.lists(sources, max_size=3).map(tuple),
    packages=st.lists(debian_packages, max_size=4).map(lambda found: tuple(sorted(found))),
)


cuda_versions = st.from_regex(r"[1-9][0-9]?\.[0-9](\.[0-9]{2})?", fullmatch=True)
compats = st.builds(
    CudaCompat,
    cuda=cuda_versions,
    driver=cuda_versions,
    branches=st.lists(st.integers(1, 999), max_size=3).map(tuple),
    path=texts,
)
image_roots = st.builds(
    ImageRoot,
    manifest=digests,
    config=digests,
    glibc=texts,
    python=st.just("3.12.3"),
    interpreter=st.just("/usr/bin/python3.12"),
    layers=st.lists(
        st.builds(ImageLayer, media_type=texts, digest=digests, size=sizes, diff_id=digests), max_size=3
    ).map(tuple),
    user=texts,
    compat=st.none() | compats,
    env=st.dictionaries(strings.filter(lambda name: bool(name) and "=" not in name), strings, max_size=3),
)


cuda = st.builds(
    CudaFacts,
    runtime=cuda_versions,
    origin=texts,
    others=st.lists(texts, max_size=2).map(tuple),
    driver=st.just("") | cuda_versions,
    whole_driver=st.just("") | cuda_versions,
    libraries=st.lists(st.builds(CudaLibrary, name=texts, version=texts, origin=texts), max_size=3).map(
        lambda found: tuple(sorted(found))
    ),
)
ranges = st.sampled_from(["", ">=8.0", ">=535,<560", "==8.*,!=8.7"]).map(
    lambda text: VersionRange.parse(text) if text else VersionRange()
)
gpus = st.builds(
    GpuRequest,
    count=st.integers(1, 9),
    names=st.lists(st.sampled_from(["A100 80GB", "H100", 'L4 "x"']), max_size=2, unique=True).map(tuple),
    memory=sizes,
    compute_capability=ranges,
    driver=ranges,
    mig=st.sampled_from(["", "1g.10gb", "1g.5gb+me"]),
    nvlink=st.booleans(),
    peer_access=st.booleans(),
    ecc=st.booleans(),
)
hosts = st.builds(
    HostRequest,
    cpus=sizes,
    memory=sizes,
    disk=sizes,
    shm=sizes,
    kernel=ranges,
    architecture=st.sampled_from(["", "x86_64"]),
    cpu=st.sampled_from(["", "x86-64-v3"]),
    infiniband=st.booleans(),
)


architectures = st.builds(
    lambda number, suffix: f"{number}{suffix}", st.integers(10, 999), st.sampled_from("  af").map(str.strip)
)
libraries = st.builds(
    GpuCode,
    path=st.builds(lambda up, path: up + path, st.sampled_from(["", "../../../"]), paths),
    sass=st.lists(architectures, max_size=4).map(sorted_sass),
    ptx=st.lists(
        st.builds(
            lambda text, major, minor: f"{text}/{major}.{minor}", architectures, st.integers(1, 9), st.integers(0, 12)
        ),
        max_size=3,
    ).map(sorted_ptx),
    amd=st.lists(st.sampled_from(["gfx90a", "gfx942:sramecc+:xnack-", "gfx1100", "gfx9-4-generic"])).map(sorted_amd),
).filter(lambda code: bool(code.sass or code.ptx or code.amd)) | st.builds(
    GpuCode, path=paths, unknown=st.sampled_from(["its code is compressed", 'a "reason" \\'])
)
gpu_codes = st.lists(libraries, min_size=1, max_size=3, unique_by=lambda code: code.path).map(
    lambda found: tuple(sorted(found))
)


@st.composite
def some_bases(draw: st.DrawFn, name: str, found: set[Platform]) -> LockedBase:
    if draw(st.booleans()):
        made = {platform: draw(image_roots) for platform in found}
        return LockedBase(name=name, image="ghcr.io/a/b:1", index=draw(st.none() | digests), roots=made)
    return LockedBase(name=name, suite=draw(texts), roots={platform: draw(roots) for platform in found})


@st.composite
def some_data(draw: st.DrawFn, name: str) -> LockedData:
    source = draw(st.sampled_from(["path", "file", "s3", "my-store"]))
    pin = draw(st.sampled_from(["sha256", "etag", "md5"]))
    one_line = st.from_regex(r"[a-zé@/ \"']{1,8}", fullmatch=True)
    return LockedData(
        name=name,
        path=("/" if source == "file" else "") + draw(paths),
        source=source,
        uri=draw(st.sampled_from(["", "s3://bucket/raw/", "git+ssh://git@host/a.git#b", "https://h/a?download=1"])),
        revision=draw(st.just("") | one_line),
        query=draw(strings),
        connection=draw(st.just("") | variables.filter(lambda variable: not variable.startswith("REPRO_"))),
        include=draw(st.lists(paths, max_size=2).map(tuple)),
        exclude=draw(st.lists(paths, max_size=2).map(tuple)),
        options=draw(st.dictionaries(st.sampled_from(["endpoint-url", "region"]), strings, max_size=2)),
        kind=draw(st.sampled_from(["file", "directory"])),
        pin=pin,
        digest=draw(digests),
        content=draw(st.none() | digests) if pin != "sha256" else None,
        files=draw(sizes),
        size=draw(sizes),
    )


@st.composite
def some_locks(draw: st.DrawFn) -> Lock:
    """Draw a lock whose references all lead somewhere."""
    found = draw(st.sets(platforms, min_size=1))
    bases = {name: draw(some_bases(name, found)) for name in draw(st.lists(names, min_size=1, max_size=2, unique=True))}
    data = {name: draw(some_data(name)) for name in draw(st.lists(names, max_size=2, unique=True))}
    pool = draw(st.lists(wheels, max_size=5, unique_by=lambda wheel: (wheel.name, wheel.version, wheel.sha256)))
    steps: dict[str, LockedStep] = {}
    for name in draw(st.lists(names, max_size=3, unique=True)):
        known = [*data, *(f"{other}.{output}" for other in steps for output in steps[other].outputs)]
        steps[name] = draw(some_steps(name, list(bases), known, found, pool))
    keys = [
        *(f"base.{key}" for key in bases),
        *(f"step.{key}.python" for key in steps),
        *(f"data.{key}" for key in data),
    ]
    inputs = {key: draw(digests) for key in keys}
    lock = Lock(project=draw(names), inputs=inputs, bases=bases, steps=steps, data=data)
    carriers = sorted({wheel.sha256 for wheel in lock.installed}, key=str)
    chosen = draw(st.sets(st.sampled_from(carriers))) if carriers else set()
    return replace(lock, gpu_code={wheel: draw(gpu_codes) for wheel in chosen})


comparisons = st.sampled_from(
    ["numeric: rtol=1e-06", "parquet: order=any", "command: diff -q {a} {b}", 'command: "é" {a}{b}']
)


@st.composite
def some_steps(
    draw: st.DrawFn, name: str, bases: list[str], known: list[str], found: set[Platform], pool: list[Wheel]
) -> LockedStep:
    python = PythonVersion(draw(st.integers(8, 15)))
    chosen = st.lists(st.sampled_from(pool), max_size=4, unique=True) if pool else st.just([])
    return LockedStep(
        name=name,
        base=draw(st.sampled_from(bases)),
        python=python,
        command=draw(words),
        inputs=tuple(draw(st.lists(st.sampled_from(known), max_size=2))) if known else (),
        outputs=(outputs := draw(st.dictionaries(names, paths, max_size=2))),
        compare={output: draw(comparisons) for output in outputs if draw(st.booleans())},
        code=draw(st.none() | st.lists(paths, max_size=2).map(tuple)),
        env=(env := draw(st.dictionaries(variables, strings, max_size=2))),
        secrets=tuple(sorted(draw(st.sets(variables, max_size=2)) - SET_VARIABLES - env.keys())),
        network=draw(st.booleans()),
        bytecode=draw(st.booleans()),
        torch_backend=draw(st.sampled_from(["", "cpu", "cu128", "rocm6.2.4"])),
        deterministic=draw(st.just({}) | st.just(SETTINGS) | st.dictionaries(variables, strings, max_size=2)),
        gpu=draw(st.none() | gpus),
        host=draw(st.none() | hosts),
        environments={
            platform: Environment(
                interpreter=(version := f"{python}.{draw(st.integers(0, 20))}"),
                wheels=tuple(sorted(draw(chosen))),
                sources=draw(some_sources(chosen)),
                local=draw(some_local(chosen)),
                archive=draw(st.none() | some_interpreters(version)),
                image=draw(st.none() | digests),
                cuda=draw(st.none() | cuda),
            )
            for platform in found
        },
    )


def some_local(chosen: st.SearchStrategy[list[Wheel]]) -> st.SearchStrategy[tuple[LocalPackage, ...]]:
    """Draw packages of people's own that need some of these wheels to be built."""
    package = st.builds(
        LocalPackage,
        name=package_names,
        path=st.from_regex(r"\.|(\.\./){0,2}[a-zé]{1,3}(/[a-z]{1,3})?", fullmatch=True),
        metadata=digests,
        version=st.just("") | package_words,
        requires=chosen.map(lambda found: tuple(sorted(found))),
    )
    return st.lists(package, max_size=2, unique_by=lambda one: one.name).map(lambda found: tuple(sorted(found)))


def some_sources(chosen: st.SearchStrategy[list[Wheel]]) -> st.SearchStrategy[tuple[SourcePackage, ...]]:
    """Draw packages with sources alone, some of them built."""
    wheel = st.builds(
        BuiltWheel,
        file=st.just("a-1-py3-none-any.whl"),
        sha256=digests,
        size=sizes,
        contents=st.dictionaries(paths, digests, max_size=3).map(lambda found: tuple(sorted(found.items()))),
    )
    package = st.builds(
        SourcePackage,
        name=package_names,
        version=package_words,
        file=st.sampled_from(["a-1.tar.gz", "b-1.zip"]),
        url=texts,
        sha256=digests,
        size=sizes,
        requires=chosen.map(lambda found: tuple(sorted(found))),
        wheel=st.none() | wheel,
    )
    return st.lists(package, max_size=2, unique_by=lambda one: one.name).map(lambda found: tuple(sorted(found)))


def some_interpreters(version: str) -> st.SearchStrategy[Interpreter]:
    """Draw archives of one version, each the same wherever it is drawn, as the hash is what names it."""
    return st.integers(1, 2).map(
        lambda number: Interpreter(
            version=version,
            url=f"https://releases.example/{number}/cpython-{version}%2B{number}.tar.gz",
            sha256=Digest.of(f"{version} {number}".encode()),
            size=number,
        )
    )


@settings(deadline=None)
@given(some_locks())
def test_a_lock_comes_back_from_its_text_and_the_text_from_the_lock(lock: Lock) -> None:
    text = dump_lock(lock)
    again = parse_lock(text)
    assert again == lock
    assert dump_lock(again) == text


@settings(deadline=None)
@given(some_locks(), st.randoms(use_true_random=False))
def test_the_text_does_not_depend_on_the_order_things_were_put_in(lock: Lock, chance: random.Random) -> None:
    def shuffled(mapping: Any) -> Any:
        items = list(mapping.items())
        chance.shuffle(items)
        return dict(items)

    other = Lock(
        project=lock.project,
        inputs=shuffled(lock.inputs),
        bases=shuffled(lock.bases),
        steps=shuffled(lock.steps),
        data=shuffled(lock.data),
        gpu_code=shuffled(lock.gpu_code),
    )
    assert dump_lock(other) == dump_lock(lock)


@settings(deadline=None)
@given(some_locks())
def test_the_fast_reader_reads_what_the_writer_writes_as_tomllib_does(lock: Lock) -> None:
    text = dump_lock(lock)
    found = read_canonical(text)
    assert found is not None
    assert found == tomllib.loads(text)


PIECES = (
    "\n",
    '"',
    "\\",
    "{ ",
    " }",
    "[",
    "]",
    "[[package]]",
    "[[interpreter]]",
    ", ",
    " = ",
    "=",
    "#",
    "x",
    "\r",
    "\t",
    "0",
    "-1",
    "1.5",
)


@settings(deadline=None, max_examples=600)
@given(st.data())
def test_whatever_happens_to_the_text_the_fast_reader_agrees_with_tomllib(data: st.DataObject) -> None:
    text = dump_lock(locks.churn()) if data.draw(st.booleans()) else TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        removed = data.draw(st.integers(0, 3) | st.integers(0, 200))
        put = data.draw(st.sampled_from(PIECES) | st.integers(0, len(TEXT)).map(lambda at: TEXT[at : at + 60]) | texts)
        text = text[:start] + put + text[start + removed :]
    found = read_canonical(text)
    if found is not None:
        assert found == tomllib.loads(text)


LINES = TEXT.split("\n")


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES) - 1)), min_size=1, max_size=4))
def test_a_text_with_lines_moved_or_doubled_is_read_the_same_by_both_and_never_crashes(
    moves: list[tuple[int, int]],
) -> None:
    lines = LINES.copy()
    for source, target in moves:
        lines.insert(target, lines[source])
        if target % 2:
            del lines[source]
    text = "\n".join(lines)
    found = read_canonical(text)
    if found is not None:
        assert found == tomllib.loads(text)
    with contextlib.suppress(LockError):
        parse_lock(text)


toml_values = st.recursive(
    st.integers(-5, 5) | st.booleans() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(texts, toml_values, max_size=4))
def test_the_line_locator_finds_the_keys_that_tomllib_finds(content: dict[str, Any]) -> None:
    text = tomlkit.dumps(content)
    assert set(key_lines(text)) == _paths(tomllib.loads(text))


def test_the_line_locator_reads_a_lock() -> None:
    assert set(key_lines(TEXT)) == _paths(tomllib.loads(TEXT))


def _paths(value: Any, above: KeyPath = ()) -> set[KeyPath]:
    found: set[KeyPath] = {above} - {()}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= _paths(inner, (*above, key))
    return found
