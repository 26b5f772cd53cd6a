from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from records import FULL

from repro_env.errors import IntegrityError, UsageError
from repro_env.record.bundle import is_bundle, open_bundle, write_bundle
from repro_env.record.runs import Run, document


def kept(directory: Path, name: str) -> Run:
    record = replace(FULL, id=name, status="succeeded")
    place = directory / name
    (place / "manifests").mkdir(parents=True)
    (place / "record.json").write_bytes(document(record))
    (place / "repro.lock").write_text(f"lock of {name}")
    (place / "manifests/table.manifest").write_text("manifest")
    (place / "record.json.dsse").write_text("signed")
    (place / "record.json.sigstore.json").write_text("signed by others")
    (place / "output.log").write_text("not for others")
    return Run(directory=place, record=record)


def test_what_is_written_opens_elsewhere(tmp_path: Path) -> None:
    run, maker = kept(tmp_path / "a", "20260101T000000Z-b_2-0001"), kept(tmp_path / "a", "20260101T000000Z-a-0002")
    write_bundle(run, [maker], tmp_path / "one.tar")
    write_bundle(run, [maker, maker], tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert is_bundle(str(tmp_path / "one.tar"))
    assert not is_bundle(str(run.directory / "record.json"))
    opened = open_bundle(tmp_path / "one.tar", tmp_path / "b")
    assert [one.record for one in opened] == [run.record, maker.record]
    names = {str(path.relative_to(opened[0].directory)) for path in opened[0].directory.rglob("*") if path.is_file()}
    signatures = {"record.json.dsse", "record.json.sigstore.json"}
    assert names == {"record.json", "repro.lock", "manifests/table.manifest", *signatures}


@pytest.mark.parametrize("name", ["../escape", "runs/x/other", "/runs/x/record.json", "runs/../record.json"])
def test_what_does_not_belong_is_not_unpacked(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(IntegrityError, match="no bundle"):
        open_bundle(tmp_path / "bad.tar", tmp_path / "out")
    assert not (tmp_path / "escape").exists()


def test_damage_is_told(tmp_path: Path) -> None:
    run = kept(tmp_path / "a", "20260101T000000Z-b-0001")
    (run.directory / "record.json").write_text("{}")
    write_bundle(run, [], tmp_path / "one.tar")
    with pytest.raises(IntegrityError, match="damaged record"):
        open_bundle(tmp_path / "one.tar", tmp_path / "b")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "one.tar").read_bytes()[:700])
    with pytest.raises(IntegrityError):
        open_bundle(tmp_path / "cut.tar", tmp_path / "c")
    with pytest.raises(UsageError, match="there is no bundle"):
        is_bundle(str(tmp_path / "absent.tar"))
