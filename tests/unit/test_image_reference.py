"""References to images as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.values import Digest, ImageReference, check_identifier

HEX = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "whole"),
    [
        ("python", "docker.io", "library/python", "", "docker.io/library/python"),
        ("python:3.12-slim", "docker.io", "library/python", "3.12-slim", "docker.io/library/python:3.12-slim"),
        ("bitnami/python:3", "docker.io", "bitnami/python", "3", "docker.io/bitnami/python:3"),
        ("index.docker.io/python", "docker.io", "library/python", "", "docker.io/library/python"),
        ("docker.io/python:3", "docker.io", "library/python", "3", "docker.io/library/python:3"),
        ("localhost/x", "localhost", "x", "", "localhost/x"),
        ("localhost:5000/a/b_c/d--e:v1", "localhost:5000", "a/b_c/d--e", "v1", "localhost:5000/a/b_c/d--e:v1"),
        ("[::1]:5000/x", "[::1]:5000", "x", "", "[::1]:5000/x"),
        ("Host/x", "Host", "x", "", "Host/x"),
        (
            "nvcr.io/nvidia/cuda:12.8.1-runtime-ubuntu24.04",
            "nvcr.io",
            "nvidia/cuda",
            "12.8.1-runtime-ubuntu24.04",
            "nvcr.io/nvidia/cuda:12.8.1-runtime-ubuntu24.04",
        ),
        (f"ghcr.io/a/b:1@{HEX}", "ghcr.io", "a/b", "1", f"ghcr.io/a/b:1@{HEX}"),
    ],
)
def test_a_reference_is_read(text: str, registry: str, repository: str, tag: str, whole: str) -> None:
    found = ImageReference.parse(text)
    assert (found.registry, found.repository, found.tag, str(found)) == (registry, repository, tag, whole)
    assert ImageReference.parse(whole) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a repository is"),
        ("Python", "a repository is"),
        ("a//b", "a repository is"),
        ("ghcr.io/", "a repository is"),
        ("ghcr.io/a/-b", "a repository is"),
        ("ghcr.io/a/b___c", "a repository is"),
        (f"ghcr.io/{'a' * 256}", "a repository is"),
        ("ghcr.io/a:", "is not a tag"),
        ("ghcr.io/a:.x", "is not a tag"),
        (f"ghcr.io/a:{'x' * 129}", "is not a tag"),
        ("ghcr.io/a:b:c", "is not a tag"),
        ("gh_cr.io/a", "is not a host"),
        ("user:pw@ghcr.io/a", "expected sha256:HEX"),
        ("ghcr.io:x/a", "is not a host"),
        ("ghcr.io/a@sha512:00", "expected sha256:HEX"),
        ("ghcr.io/a@", "expected sha256:HEX"),
        ("ghcr.io/a\n", "a repository is"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ImageReference.parse(text)


def test_what_is_asked_for_is_the_digest_else_the_tag_else_latest() -> None:
    assert ImageReference.parse(f"a:1@{HEX}").target == HEX
    assert ImageReference.parse("a:1").target == "1"
    assert ImageReference.parse("a").target == "latest"


words = st.from_regex(r"[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?", fullmatch=True)


@settings(deadline=None)
@given(
    st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "registry.example:443"]),
    st.lists(words, min_size=2, max_size=4).map("/".join),
    st.just("") | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True),
    st.none() | st.binary().map(Digest.of),
)
def test_a_reference_comes_back_from_its_text(registry: str, repository: str, tag: str, digest: Digest | None) -> None:
    reference = ImageReference(registry=registry, repository=repository, tag=tag, digest=digest)
    assert ImageReference.parse(str(reference)) == reference


@settings(deadline=None, max_examples=500)
@given(st.text(st.sampled_from("aB0.:/@-_[] \n#é"), max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = ImageReference.parse(text)
    except ValueError:
        return
    assert ImageReference.parse(str(found)) == found


@settings(deadline=None)
@given(st.text(st.sampled_from("a0-_"), min_size=1, max_size=8))
def test_a_name_is_part_of_a_reference_or_refused(name: str) -> None:
    try:
        check_identifier(name)
    except ValueError:
        with pytest.raises(ValueError, match="repository"):
            ImageReference.parse(f"repro/{name}")
    else:
        assert ImageReference.parse(f"repro/{name}-{name}:{name}").tag == name
