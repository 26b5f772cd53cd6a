"""`repro build --check`: the same bytes twice, or the first difference by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import serve
from pipeline import PLATFORM, Pipeline, make_pipeline
from projects import OnDisk

from repro_env.build.images import Order, compare_with_recorded
from repro_env.build.twice import downloaded, share
from repro_env.image.oci import read_image, write_image
from repro_env.image.store import Store
from repro_env.lock.dump import dump_lock
from repro_env.values import Digest

# What a build must not depend on, and this plants: a mode that follows the second build's time zone.
PLANTED = """\
import os
if os.environ.get("TZ") == "Pacific/Kiritimati":
    from dataclasses import replace
    from repro_env.image import tar
    header = tar.header
    def planted(entry):
        return header(replace(entry, mode=0o755) if entry.path.endswith("small/m7.py") else entry)
    tar.header = planted
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url)


def recorded_as(pipeline: Pipeline, digest: Digest) -> None:
    """Let the lock record another environment image for step clean."""
    lock = pipeline.lock
    step = lock.steps["clean"]
    environment = replace(step.environments[PLATFORM], image=digest)
    steps = {**lock.steps, "clean": replace(step, environments={PLATFORM: environment})}
    pipeline.disk.write("repro.lock", dump_lock(replace(lock, steps=steps)))


def test_the_same_bytes_twice_and_nothing_is_changed(pipeline: Pipeline) -> None:
    before = (pipeline.root / "repro.lock").read_bytes()
    answer = pipeline.repro("build", "--check")
    assert answer.status == 0, answer
    assert [line.split("  ", 2)[2] for line in answer.stdout.splitlines()[:2]] == ["the same bytes twice"] * 2
    assert (pipeline.root / "repro.lock").read_bytes() == before
    assert Store(pipeline.store).references() == {}
    assert list((pipeline.store / "temporary").iterdir()) == []

    assert pipeline.repro("build").status == 0
    answer = pipeline.repro("build", "--check", "--json")
    document = json.loads(answer.stdout)
    assert document["same"]
    assert [image["as_recorded"] for image in document["images"]] == [True, True]
    assert all(image["recorded"] == image["environment"] for image in document["images"])


def test_what_differs_between_two_builds_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANTED)
    planted = Pipeline(OnDisk(pipeline.root, {**pipeline.disk.env, "PYTHONPATH": str(tmp_path / "planted")}))
    answer = planted.repro("build", "--check", "--json", "count")
    assert answer.status == 8
    document = json.loads(answer.stdout)
    assert not document["same"]
    (difference,) = document["images"][0]["differences"]
    assert difference["path"].endswith("site-packages/small/m7.py")
    assert (difference["field"], difference["here"], difference["there"]) == ("mode", "0644", "0755")
    assert answer.stderr.startswith("error: step count did not come out the same\n")
    assert "layer 4 (small 1.0): opt/env/lib/python3." in answer.stderr
    assert "m7.py: mode 0644 here, 0755 there\n" in answer.stderr
    assert list((pipeline.store / "temporary").iterdir()) == []


def test_what_differs_from_the_image_that_the_lock_records(pipeline: Pipeline) -> None:
    assert pipeline.repro("build").status == 0
    store = Store(pipeline.store)
    built = pipeline.lock.steps["clean"].environments[PLATFORM].image
    assert built is not None
    image = read_image(store, built)
    other = write_image(replace(image, env={**image.env, "LANG": "C"}), store)
    recorded_as(pipeline, other)
    answer = pipeline.repro("build", "--check", "clean")
    assert answer.status == 8
    assert f"clean on linux/amd64: the lock records {other}" in answer.stderr
    assert "config: config.Env.LANG C.UTF-8 here, C there" in answer.stderr
    assert "`repro build --update`" in answer.stderr


def test_a_build_that_arrives_elsewhere_says_where_it_parts(pipeline: Pipeline) -> None:
    assert pipeline.repro("build").status == 0
    store = Store(pipeline.store)
    built = pipeline.lock.steps["clean"].environments[PLATFORM].image
    assert built is not None
    image = read_image(store, built)
    layers = (*image.layers[:-1], replace(image.layers[-1], digest=Digest.of(b"lost"), size=4))
    other = write_image(replace(image, layers=layers), store)
    recorded_as(pipeline, other)
    answer = pipeline.repro("build", "clean")
    assert answer.status == 8
    assert "error: the environment of step clean came out different" in answer.stderr
    assert "  layer 5 (small 2.0): digest sha256:" in answer.stderr


def test_check_goes_with_nothing_that_changes_something(pipeline: Pipeline) -> None:
    answer = pipeline.repro("build", "--check", "--update")
    assert answer.status == 2
    assert "--check changes nothing" in answer.stderr


def test_a_damaged_layer_of_the_store_is_replaced(pipeline: Pipeline) -> None:
    assert pipeline.repro("build").status == 0
    environment = pipeline.lock.steps["count"].environments[PLATFORM].image
    assert environment is not None
    layer = read_image(Store(pipeline.store), environment).layers[-1]
    blob = Store(pipeline.store).blob(layer.digest)
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    answer = pipeline.repro("build", "--check", "count")
    assert answer.status == 0, answer
    assert "warning: the store's copy of the layer with small 1.0 is damaged; what was made now" in answer.stderr
    assert blob.read_bytes() == data
    assert json.loads(pipeline.repro("build", "--check", "--json", "count").stdout)["mended"] == []


def test_only_what_was_downloaded_is_shared(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.repro("build").status == 0
    lock = pipeline.lock
    order = Order(lock=lock, steps=tuple(lock.steps), platforms=(PLATFORM,), root=pipeline.root, workers=1)
    digests = downloaded(order)
    assert len(digests) >= 5
    store, other = Store(pipeline.store), Store(tmp_path / "other")
    share(store, other, digests)
    assert {blob.name for blob in other.blobs.iterdir()} == {digest.hex for digest in digests}
    assert all(other.blob(digest).samefile(store.blob(digest)) for digest in digests)


def test_a_recorded_image_that_is_not_here_cannot_be_looked_into(store: Store) -> None:
    assert compare_with_recorded(store, Digest.of(b"1"), store, Digest.of(b"2")).same
    assert compare_with_recorded(store, Digest.of(b"1"), store, None).same
