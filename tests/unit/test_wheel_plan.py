"""What a wheel installs where: schemes, scripts, entry points, RECORD; and wheels that are refused."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from pathlib import Path

import pytest
from layers import INFO, METADATA, SITE, WHEEL, raw_wheel, recorded
from wheelmaker import WheelRecipe, make_wheel

from repro_env.errors import IntegrityError
from repro_env.image.archive import Archive
from repro_env.image.wheel import Installed, plan
from repro_env.values import PythonVersion

TEXT = b"print('hello')\n"


def planned(path: Path, python: int = 11) -> dict[str, Installed]:
    with Archive(path, path.name) as archive:
        files = plan(archive, PythonVersion(python))
    assert len({file.path for file in files}) == len(files)
    return {file.path: file for file in files}


def refusal(path: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        planned(path)
    assert path.name in caught.value.what
    return caught.value.why


def own(path: Path) -> set[str]:
    """Return the paths that a wheel installs besides its metadata."""
    return {name for name in planned(path) if ".dist-info/" not in name}


def rows(files: dict[str, Installed], info: str = INFO) -> dict[str, tuple[str, str]]:
    """Return RECORD as the plan writes it: path to hash and size."""
    text = files[f"{SITE}/{info}/RECORD"].data.decode()
    return {row[0]: (row[1], row[2]) for row in csv.reader(io.StringIO(text))}


# Places


def test_every_scheme_has_its_place(tmp_path: Path) -> None:
    members = {
        "probe/__init__.py": TEXT,
        "top.py": TEXT,
        "probe-1.0.data/purelib/pure.py": TEXT,
        "probe-1.0.data/platlib/plat.so": TEXT,
        "probe-1.0.data/scripts/run": TEXT,
        "probe-1.0.data/headers/probe.h": TEXT,
        "probe-1.0.data/data/share/probe/d.txt": TEXT,
        "probe-1.0.data/data/etc/x": TEXT,
        "other-1.0.data/scripts/not": TEXT,
    }
    assert own(raw_wheel(tmp_path, members)) == {
        f"{SITE}/probe/__init__.py",
        f"{SITE}/top.py",
        f"{SITE}/pure.py",
        f"{SITE}/plat.so",
        "opt/env/bin/run",
        "opt/env/include/site/python3.11/probe/probe.h",
        "opt/env/share/probe/d.txt",
        "opt/env/etc/x",
        f"{SITE}/other-1.0.data/scripts/not",
    }


def test_the_interpreter_decides_the_directory(tmp_path: Path) -> None:
    files = planned(raw_wheel(tmp_path, {"a.py": TEXT, "probe-1.0.data/headers/a.h": b""}), python=13)
    assert {"opt/env/lib/python3.13/site-packages/a.py", "opt/env/include/site/python3.13/probe/a.h"} <= files.keys()


def test_byte_code_that_comes_along_is_left_out(tmp_path: Path) -> None:
    files = planned(raw_wheel(tmp_path, {"probe/a.py": TEXT, "probe/__pycache__/a.cpython-311.pyc": b"other"}))
    assert f"{SITE}/probe/a.py" in files
    assert "__pycache__" not in "".join([*files, *rows(files)])


def test_files_are_copied_with_their_executable_bit(tmp_path: Path) -> None:
    path = raw_wheel(tmp_path, {"a": TEXT, "b": TEXT}, modes={"a": 0o100755})
    files = planned(path)
    assert [files[f"{SITE}/{name}"].executable for name in "ab"] == [True, False]
    assert all(file.member is not None for name, file in files.items() if name.endswith(("/a", "/b")))


@pytest.mark.parametrize("name", ["probe-1.0.data/unknown/a", "probe-1.0.data/a", "probe-1.0.data/scripts"])
def test_an_unknown_scheme_is_refused(tmp_path: Path, name: str) -> None:
    assert "is not an installation scheme" in refusal(raw_wheel(tmp_path, {name: TEXT}))


@pytest.mark.parametrize(
    "name",
    [
        "scripts/python",
        "scripts/python3",
        "scripts/python3.11",
        "data/bin/python",
        "data/bin/python3/x",
        "data/bin",
        "data/pyvenv.cfg",
    ],
)
def test_what_the_environment_holds_itself_is_not_written_over(tmp_path: Path, name: str) -> None:
    assert "which is the environment's own" in refusal(raw_wheel(tmp_path, {f"probe-1.0.data/{name}": TEXT}))


def test_an_entry_point_named_python_is_refused(tmp_path: Path) -> None:
    text = b"[console_scripts]\npython = a:b\n"
    assert "the environment's own" in refusal(raw_wheel(tmp_path, {f"{INFO}/entry_points.txt": text}))


# Scripts


@pytest.mark.parametrize(
    ("script", "installed"),
    [
        (b"#!python\nx", b"#!/opt/env/bin/python\nx"),
        (b"#!pythonw\nx", b"#!/opt/env/bin/python\nx"),
        (b"#!python -E\nx\ny", b"#!/opt/env/bin/python\nx\ny"),
        (b"#!python3.9\r\nx", b"#!/opt/env/bin/python\nx"),
        (b"#!python", b"#!/opt/env/bin/python\n"),
    ],
)
def test_a_python_script_gets_the_images_interpreter(tmp_path: Path, script: bytes, installed: bytes) -> None:
    file = planned(raw_wheel(tmp_path, {"probe-1.0.data/scripts/run": script}))["opt/env/bin/run"]
    assert (file.data, file.executable, file.size) == (installed, True, len(installed))
    assert file.sha256 == hashlib.sha256(installed).digest()


@pytest.mark.parametrize("script", [b"#!/bin/sh\nx", b"", b"\x7fELF" + bytes(100), b"#!pyth", b" #!python\n"])
def test_another_script_is_copied(tmp_path: Path, script: bytes) -> None:
    file = planned(raw_wheel(tmp_path, {"probe-1.0.data/scripts/run": script}))["opt/env/bin/run"]
    assert file.member is not None
    assert file.executable


def test_a_python_file_outside_scripts_keeps_its_first_line(tmp_path: Path) -> None:
    assert planned(raw_wheel(tmp_path, {"a.py": b"#!python\n"}))[f"{SITE}/a.py"].member is not None


def entry_points(directory: Path, text: str) -> dict[str, str]:
    files = planned(raw_wheel(directory, {f"{INFO}/entry_points.txt": text.encode()}))
    found = {path.removeprefix("opt/env/bin/"): file for path, file in files.items() if path.startswith("opt/env/bin/")}
    assert all(file.executable for file in found.values())
    return {name: file.data.decode() for name, file in found.items()}


def test_entry_points_become_scripts(tmp_path: Path) -> None:
    text = (
        "[console_scripts]\nprobe = probe.cli:main\nCamel.Case-1 = a.b : c.d [extra1, extra2]\n"
        "spaced name = a:b\n[gui_scripts]\nwindow=probe.gui:show\n[other.group]\nplugin = probe:Plugin\nno = probe\n"
    )
    scripts = entry_points(tmp_path, text)
    assert set(scripts) == {"probe", "Camel.Case-1", "spaced name", "window"}
    assert scripts["Camel.Case-1"] == (
        '#!/opt/env/bin/python\nimport sys\nfrom a.b import c\n\nif __name__ == "__main__":\n    sys.exit(c.d())\n'
    )
    for script in scripts.values():
        compile(script, "script", "exec")


@pytest.mark.parametrize("text", ["", "[console_scripts]\n", "[other]\na = b\n", "# nothing\n"])
def test_no_entry_points_no_scripts(tmp_path: Path, text: str) -> None:
    assert entry_points(tmp_path, text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "[console_scripts]\na = module\n",
        "[console_scripts]\na = module:\n",
        "[console_scripts]\na = :function\n",
        "[console_scripts]\na = mod ule:f\n",
        "[console_scripts]\na = m:f; import os\n",
        "[console_scripts]\na = m:f()\n",
        "[console_scripts]\na =\n",
        "[console_scripts]\n../a = m:f\n",
        "[console_scripts]\n.. = m:f\n",
        "[console_scripts]\n/bin/sh = m:f\n",
        "[console_scripts]\na/b = m:f\n",
        "[console_scripts]\na\n",
        "[console_scripts]\na = m:f\na = m:g\n",
        "[gui_scripts]\na = m\n",
        "a = m:f\n",
        "[console_scripts\na = m:f\n",
    ],
)
def test_an_odd_entry_point_is_refused(tmp_path: Path, text: str) -> None:
    assert "entry_points.txt" in refusal(raw_wheel(tmp_path, {f"{INFO}/entry_points.txt": text.encode()}))


def test_entry_points_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    assert "entry_points.txt" in refusal(raw_wheel(tmp_path, {f"{INFO}/entry_points.txt": b"[console_scripts]\n\xff"}))


def test_an_entry_point_stands_for_the_script_of_its_name(tmp_path: Path) -> None:
    members = {
        "probe-1.0.data/scripts/probe": b"#!python\nold",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nprobe = a:b\n",
    }
    files = planned(raw_wheel(tmp_path, members))
    assert b"from a import b" in files["opt/env/bin/probe"].data
    assert rows(files)["../../../bin/probe"] == (
        recorded(files["opt/env/bin/probe"].data),
        str(files["opt/env/bin/probe"].size),
    )


# RECORD


def test_record_lists_every_installed_file_with_hash_and_size(tmp_path: Path) -> None:
    members = {
        "a,b.py": TEXT,
        "größe.py": b"",
        "probe-1.0.data/scripts/run": b"#!python\n",
        "probe-1.0.data/data/share/x": TEXT,
        f"{INFO}/INSTALLER": b"somebody\n",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nprobe = a:b\n",
    }
    files = planned(raw_wheel(tmp_path, members))
    listed = rows(files)
    assert listed.pop(f"{INFO}/RECORD") == ("", "")
    assert listed["a,b.py"] == (recorded(TEXT), str(len(TEXT)))
    assert listed["../../../share/x"] == (recorded(TEXT), str(len(TEXT)))
    assert listed["../../../bin/run"] == (recorded(b"#!/opt/env/bin/python\n"), "22")
    assert files[f"{SITE}/{INFO}/INSTALLER"].data == b"repro\n"
    assert len(listed) == len(files) - 1
    for file in files.values():
        expected = base64.urlsafe_b64encode(file.sha256).rstrip(b"=").decode()
        assert file.path.endswith("/RECORD") or f"sha256={expected}" in {hashed for hashed, _size in listed.values()}


def lines(*rows: str) -> bytes:
    info = [f"{INFO}/METADATA,{recorded(METADATA)},{len(METADATA)}", f"{INFO}/WHEEL,{recorded(WHEEL)},{len(WHEEL)}"]
    return "\n".join([*rows, *info, f"{INFO}/RECORD,,", ""]).encode()


@pytest.mark.parametrize(
    "row",
    [
        f"a.py,{recorded(TEXT)},{len(TEXT)}",
        f"a.py,{recorded(TEXT)}=,{len(TEXT)}",
        f"a.py,{recorded(TEXT)}",
        f'"a.py",{recorded(TEXT)},',
        f"a.py,{recorded(TEXT, 'sha512')},{len(TEXT)}",
        f"a.py,{recorded(TEXT, 'sha384')},{len(TEXT)}",
        "a.py,,",
        "a.py",
        "",
        "a.py,md5=abc,3",
        f"a.py,{recorded(TEXT)},{len(TEXT)}\nabsent.py,{recorded(b'')},0\nfolder/,,",
        "a.py,sha256=,\r\n",
    ],
)
def test_records_that_are_true_or_say_nothing_pass(tmp_path: Path, row: str) -> None:
    files = planned(raw_wheel(tmp_path, {"a.py": TEXT}, record=lines(row)))
    assert files[f"{SITE}/a.py"].sha256 == hashlib.sha256(TEXT).digest()
    assert rows(files)["a.py"] == (recorded(TEXT), str(len(TEXT)))


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_lie_in_another_hash_is_refused(tmp_path: Path, algorithm: str) -> None:
    row = f"a.py,{recorded(b'other', algorithm)},{len(TEXT)}"
    assert refusal(raw_wheel(tmp_path, {"a.py": TEXT}, record=lines(row))) == "a.py is not what RECORD says"


def test_a_lie_about_a_python_script_is_refused(tmp_path: Path) -> None:
    name = "probe-1.0.data/scripts/run"
    row = f"{name},{recorded(b'other')},5"
    path = raw_wheel(tmp_path, {name: b"#!python\nx"}, record=lines(row))
    assert refusal(path) == f"{name} is not what RECORD says"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\xff\xfe", "RECORD is not UTF-8"),
        (b'"a', "RECORD: "),
        (b'"a"b,c,d\n', "RECORD: "),
        (b"a" * 140_000, "RECORD"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, record: bytes, message: str) -> None:
    assert message in refusal(raw_wheel(tmp_path, {"a.py": TEXT}, record=record))


# What is no wheel


def test_two_dist_info_directories_are_refused(tmp_path: Path) -> None:
    path = raw_wheel(tmp_path, {"other-2.0.dist-info/METADATA": b""})
    assert refusal(path) == "it has 2 .dist-info directories"


def test_another_distributions_metadata_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, WheelRecipe(name="other"))
    path = path.rename(tmp_path / "probe-1.0-py3-none-any.whl")
    assert refusal(path) == "it holds other-1.0.dist-info, which is not of probe 1.0"


@pytest.mark.parametrize("file", ["My_Probe-1.0-py3-none-any.whl", "my.probe-1.0-py3-none-any.whl"])
def test_names_are_compared_as_pep_503_does(tmp_path: Path, file: str) -> None:
    path = make_wheel(tmp_path, WheelRecipe(name="my-Probe", files={"a.py": TEXT}))
    assert f"{SITE}/a.py" in planned(path.rename(tmp_path / file))


@pytest.mark.parametrize("file", ["probe.whl", "probe-1.0.whl", "probe-1.0-py3-none-any.zip", "probe-x-y-z-1-2-3.whl"])
def test_a_file_name_that_is_no_wheels_is_refused(tmp_path: Path, file: str) -> None:
    assert refusal(raw_wheel(tmp_path, {}, file=file))


@pytest.mark.parametrize(
    "text", [b"Wheel-Version: 2.0\n", b"Wheel-Version: 10.0\n", b"Generator: x\n", b"", b"X-Wheel-Version: 1.0\n"]
)
def test_another_wheel_version_is_refused(tmp_path: Path, text: bytes) -> None:
    assert refusal(raw_wheel(tmp_path, {f"{INFO}/WHEEL": text})) == "its Wheel-Version is not 1.x"


@pytest.mark.parametrize("text", [b"Wheel-Version: 1.0", b"Wheel-Version: 1.9\r\n", b"A: b\nWheel-Version:1.0\n"])
def test_version_one_is_read_in_any_dress(tmp_path: Path, text: bytes) -> None:
    assert planned(raw_wheel(tmp_path, {f"{INFO}/WHEEL": text}))


def test_missing_metadata_is_refused(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, WheelRecipe(name="probe"))
    for name in ("WHEEL", "RECORD"):
        data = path.read_bytes().replace(f"{INFO}/{name}".encode(), f"{INFO}/{name[::-1]}".encode())
        bad = tmp_path / name / path.name
        bad.parent.mkdir()
        bad.write_bytes(data)
        assert refusal(bad) == f"{INFO}/{name} is missing"
