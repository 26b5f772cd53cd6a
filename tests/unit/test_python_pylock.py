"""Reading what uv writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_env.resolve.python.pylock import Distribution, NoWheelError, PylockError, parse_pylock
from repro_env.resolve.python.target import ranked_tags
from repro_env.values import Digest, Platform, PythonVersion

TAGS = ranked_tags(PythonVersion(11), Platform("amd64"), 36)
HEX = "ab" * 32
HEAD = 'lock-version = "1.0"\ncreated-by = "uv"\n'


def parse(packages: str) -> list[Distribution]:
    return parse_pylock(HEAD + packages, Path("/work"), TAGS).wheels


def package(files: str, name: str = "Some_Thing", version: str = 'version = "1.0"') -> str:
    return f'[[packages]]\nname = "{name}"\n{version}\n{files}\n'


def wheel(file: str, more: str = "") -> str:
    return f'{{ url = "https://host/p/{file}", size = 7, hashes = {{ sha256 = "{HEX}" }}{more} }}'


def test_a_package_with_one_wheel() -> None:
    (one,) = parse(package(f"wheels = [{wheel('some_thing-1.0-py3-none-any.whl')}]"))
    assert one == Distribution(
        name="some-thing",
        version="1.0",
        file="some_thing-1.0-py3-none-any.whl",
        url="https://host/p/some_thing-1.0-py3-none-any.whl",
        sha256=Digest(HEX),
        size=7,
    )


def test_no_package_at_all() -> None:
    assert parse("") == []


def test_of_several_wheels_the_best_that_fits() -> None:
    files = [
        "some_thing-1.0-py3-none-any.whl",
        "some_thing-1.0-cp311-cp311-musllinux_1_1_x86_64.whl",
        "some_thing-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "some_thing-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "some_thing-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    ]
    (one,) = parse(package(f"wheels = [{', '.join(map(wheel, files))}]"))
    assert one.file == files[-1]


def test_what_the_index_does_not_tell_is_none() -> None:
    (one,) = parse(package('wheels = [{ url = "https://h/some_thing-1.0-py3-none-any.whl", hashes = {} }]'))
    assert (one.sha256, one.size) == (None, None)


def test_an_escaped_file_name() -> None:
    (one,) = parse(package(f"wheels = [{wheel('some_thing-1.0%2Bcpu-py3-none-any.whl')}]"))
    assert one.file == "some_thing-1.0+cpu-py3-none-any.whl"


def test_a_direct_wheel_beside_the_output() -> None:
    archive = f'archive = {{ path = "../p/some_thing-2.0-py3-none-any.whl", hashes = {{ sha256 = "{HEX}" }} }}'
    (one,) = parse(package(archive, version=""))
    assert (one.url, one.version) == ("file:///p/some_thing-2.0-py3-none-any.whl", "2.0")


def test_packages_are_sorted_by_name() -> None:
    names = ["zoo", "Alpha", "m.n"]
    text = "".join(package(f"wheels = [{wheel('a-1.0-py3-none-any.whl')}]", name) for name in names)
    assert [one.name for one in parse(text)] == ["alpha", "m-n", "zoo"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ('vcs = { type = "git", url = "https://h/x.git", commit-id = "a" }', "repository"),
        ('archive = { url = "https://h/x-1.tar.gz", hashes = {} }', r"x-1\.tar\.gz is no wheel"),
        ('sdist = { url = "https://h/x-1.tar.gz", hashes = {} }', "source distribution only"),
        (f"wheels = [{wheel('x-1.0-cp312-cp312-manylinux_2_17_x86_64.whl')}]", "its wheels are x-1.0-cp312"),
        (f"wheels = [{wheel('strange.whl')}]", "is no wheel"),
    ],
)
def test_what_has_to_be_built_is_refused(files: str, found: str) -> None:
    with pytest.raises(NoWheelError, match=found) as caught:
        parse(package(files))
    assert caught.value.package == "some-thing"


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        'lock-version = "2.0"',
        "",
        'lock-version = "1.0"\npackages = 3',
        'lock-version = "1.0"\n[[packages]]\n',
        'lock-version = "1.0"\n[[packages]]\nname = "a"\nwheels = [{}]',
        'lock-version = "1.0"\n[[packages]]\nname = "a"\nwheels = [{url = "h/a-1-py3-none-any.whl", hashes = 3}]',
        'lock-version = "1.0"\n[[packages]]\nname = "?"\n',
        HEAD + package('wheels = [{url = "h/a-1-py3-none-any.whl", hashes = {sha256 = "short"}}]'),
    ],
)
def test_what_is_no_pylock_is_refused(text: str) -> None:
    with pytest.raises(PylockError):
        parse_pylock(text, Path("/work"), TAGS)
