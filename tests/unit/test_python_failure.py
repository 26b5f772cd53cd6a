"""uv's refusals, as several versions of it word them, in this program's words."""

from __future__ import annotations

import pytest

from repro_env.errors import FetchError, ResolutionError
from repro_env.lock.sources import PythonInputs
from repro_env.resolve.python.failure import explain
from repro_env.resolve.python.request import StepRequest
from repro_env.values import Platform, PythonVersion

REQUEST = StepRequest(
    step="train",
    python=PythonVersion(11),
    interpreter="3.11.2",
    platform=Platform("amd64"),
    glibc="2.36",
    inputs=PythonInputs(),
    script="train.py",
)
WHERE = "Python 3.11.2 on linux/amd64 with glibc 2.36"

NO_WHEELS_NEW = """\
error: No solution found when resolving dependencies
  cause: Because all versions of pyspark have no usable wheels and repro-this-step depends on pyspark, we can conclude \
that your requirements are unsatisfiable.

hint: Wheels are required for `pyspark` because building from source is disabled for all packages
"""
NO_WHEELS_OLD = """\
warning: The requested Python version 3.12.2 is not available; 3.11.7 will be used to build dependencies instead.
  \u00d7 No solution found when resolving dependencies:
  ╰─▶ Because numpy==1.24.0 has no usable wheels and you require
      numpy==1.24.0, we can conclude that your requirements are unsatisfiable.

      hint: Wheels are required for `numpy` because building from source is
      disabled for all packages (i.e., with `--no-build`)
"""
WRONG_TAGS = """\
error: No solution found when resolving dependencies
  cause: Because torch==1.7.0 has no wheels with a matching Python ABI tag (e.g., `cp311`) and repro-this-step depends \
on torch==1.7.0, we can conclude that your requirements are unsatisfiable.

hint: You require CPython 3.11 (`cp311`), but we only found wheels for `torch` (v1.7.0) with the following Python ABI \
tags: `cp36m`, `cp37m`, `cp38`, `cp38m`
"""
RANGES = """\
error: No solution found when resolving dependencies
  cause: Because pandas<=0.25.3 has no usable wheels and only the following versions of pandas are available:
             pandas<=0.25.3
             pandas>=1
         we can conclude that pandas<1 cannot be used.
         And because repro-this-step depends on pandas<1, we can conclude that your requirements are unsatisfiable.
"""
SDIST = """\
error: Failed to download and build `idna @ https://ann:pw@h/idna-3.10.tar.gz`
  cause: Building source distributions for `idna` is disabled
"""
GIT = """\
   Updating https://h/x.git (HEAD)
error: Failed to download and build `idna @ git+https://h/x.git`
  cause: Git operation failed
  cause: failed to clone into: /root/.cache/uv/git-v2/db/0711d40358bfffd7
  cause: process didn't exit successfully: `/usr/bin/git fetch` (exit status: 128)
         --- stderr
         fatal: unable to access 'https://h/x.git/': Could not resolve host: h
"""
UNKNOWN = """\
error: No solution found when resolving dependencies
  cause: Because nosuch was not found in the package registry and repro-this-script depends on nosuch>1, we can \
conclude that your requirements are unsatisfiable.
"""
NO_VERSION = """\
error: No solution found when resolving dependencies
  cause: Because there is no version of numpy==99 and repro-this-step depends on numpy==99, we can conclude that your \
requirements are unsatisfiable.
"""
CONFLICT = """\
error: No solution found when resolving dependencies
  cause: Because pandas==1.5.3 depends on numpy>=1.21.0 and repro-this-step depends on pandas==1.5.3, we can conclude \
that repro-this-step depends on numpy>=1.21.0.
         And because repro-this-step depends on numpy<1.21, we can conclude that your requirements are unsatisfiable.
"""
REFUSED = """\
error: Request failed after 3 retries in 8.7s
  cause: Failed to fetch: http://ann:s3cret@127.0.0.1:1/simple/idna/?token=s3cret
  cause: error sending request for url (http://127.0.0.1:1/simple/idna/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
REFUSED_OLD = """\
error: Failed to fetch: `http://nohost.invalid/simple/numpy/`
  Caused by: error sending request for url (http://nohost.invalid/simple/numpy/)
  Caused by: client error (Connect)
  Caused by: dns error
"""
OFFLINE = """\
error: No solution found when resolving dependencies
  cause: Because idna was not found in the cache and you require idna, we can conclude that your requirements are \
unsatisfiable.

hint: Packages were unavailable because the network was disabled. When the network is disabled, registry packages may \
only be read from the cache.
"""
UNAUTHORISED_OLD = """\
  \u00d7 No solution found when resolving dependencies:
  ╰─▶ Because num was not found in the package registry and you require num,
      we can conclude that your requirements are unsatisfiable.

      hint: An index URL (http://127.0.0.1:1/simple) could not be queried
      due to a lack of valid authentication credentials (401 Unauthorized).
"""
UNPARSED = """\
error: Couldn't parse requirement in `/tmp/x/step/pyproject.toml` at position 0
  cause: Expected one of `@`, found `b`
         foo bar
             ^
"""


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (NO_WHEELS_NEW, f"pyspark has no usable wheel for {WHERE}"),
        (NO_WHEELS_OLD, f"numpy==1.24.0 has no usable wheel for {WHERE}"),
        (WRONG_TAGS, f"torch==1.7.0 has no usable wheel for {WHERE}"),
        (RANGES, f"pandas<1 has no usable wheel for {WHERE}"),
        (SDIST, f"idna has no usable wheel for {WHERE}"),
        (GIT, f"idna has no usable wheel for {WHERE}"),
        (UNKNOWN, "there is no package nosuch on the index"),
        (NO_VERSION, "there is no version of numpy that fits ==99"),
        (CONFLICT, f"its requirements contradict each other for {WHERE}"),
        (UNPARSED, f"uv cannot resolve it for {WHERE}"),
        ("", f"uv cannot resolve it for {WHERE}"),
    ],
)
def test_what_cannot_be_resolved(said: str, what: str) -> None:
    error = explain(REQUEST, said, "/tmp/x")
    assert type(error) is ResolutionError
    assert error.what == f"step train: {what}"


@pytest.mark.parametrize("said", [REFUSED, REFUSED_OLD, OFFLINE, UNAUTHORISED_OLD])
def test_what_cannot_be_reached(said: str) -> None:
    error = explain(REQUEST, said, "/tmp/x")
    assert type(error) is FetchError
    assert error.what == "step train: a Python index cannot be reached"
    assert "network" in error.hint


def test_which_wheels_there_are_is_said() -> None:
    assert "`cp36m`, `cp37m`, `cp38`, `cp38m`" in explain(REQUEST, WRONG_TAGS, "/tmp/x").why


def test_uvs_drawing_is_taken_away_and_the_lists_stay_indented() -> None:
    assert explain(REQUEST, RANGES, "/tmp/x").why.splitlines() == [
        "No solution found when resolving dependencies",
        "Because pandas<=0.25.3 has no usable wheels and only the following versions of pandas are available:",
        "    pandas<=0.25.3",
        "    pandas>=1",
        "we can conclude that pandas<1 cannot be used.",
        "And because step train depends on pandas<1, we can conclude that your requirements are unsatisfiable.",
    ]
    assert explain(REQUEST, NO_WHEELS_OLD, "/tmp/x").why.splitlines()[:3] == [
        "No solution found when resolving dependencies:",
        "Because numpy==1.24.0 has no usable wheels and you require",
        "numpy==1.24.0, we can conclude that your requirements are unsatisfiable.",
    ]


def test_the_projects_made_for_uv_are_not_shown() -> None:
    assert "train.py depends on nosuch>1" in explain(REQUEST, UNKNOWN, "/tmp/x").why
    assert "/tmp/x" not in explain(REQUEST, UNPARSED, "/tmp/x").why


@pytest.mark.parametrize("said", [REFUSED, SDIST])
def test_credentials_are_not_shown(said: str) -> None:
    text = str(explain(REQUEST, said, "/tmp/x"))
    assert "s3cret" not in text
    assert "pw" not in text
