"""What is found missing in an image, what is no finding, and the words for it."""

from __future__ import annotations

import json

import pytest
from found import AMD64, LIB, SITE, base, library, tree

from repro_env.build.library_tree import LibraryTree
from repro_env.build.missing import find_missing, module_of
from repro_env.build.missing_findings import Finding, Missing, Packages, VersionGap
from repro_env.build.missing_words import missing_document, missing_from_document, missing_lines
from repro_env.image.libraries import LayerLibraries, Library

CORE = f"{SITE}/cv2/cv2.abi3.so"


def missed(*files: Library | LayerLibraries) -> tuple[str, ...]:
    return find_missing(tree(*files)).libraries


def test_a_module_and_what_it_needs_in_turn() -> None:
    found = find_missing(
        tree(
            library(CORE, "libQt5Gui-1.so.5", "libc.so.6", package="opencv-python 4.12", runpath="$ORIGIN/../cv.libs"),
            library(f"{SITE}/cv.libs/libQt5Gui-1.so.5", "libGL.so.1", "libm.so.6", package="opencv-python 4.12"),
            library(f"{SITE}/numpy/core.cpython-311-x86_64-linux-gnu.so", "libc.so.6", package="numpy 2.0"),
        )
    )
    assert found.findings == (
        Finding(
            package="opencv-python 4.12",
            module="cv2",
            libraries=("libGL.so.1",),
            files=(f"{SITE}/cv.libs/libQt5Gui-1.so.5",),
        ),
    )
    assert (found.optional, found.driver) == ((), {})


def test_nothing_is_missed_that_is_anywhere_in_the_image() -> None:
    """NVIDIA's packages are loaded by their paths before another's module needs them."""
    user = library(f"{SITE}/torch/_C.cpython-311-x86_64-linux-gnu.so", "libcublas.so.12", "libfile.so", "libhere.so.2")
    preloaded = (
        library(f"{SITE}/nvidia/cublas/lib/libcublas.so.12", soname="libcublas.so.12", package="nvidia-cublas 12"),
        library("usr/lib/private/other-name.so", soname="libfile.so", package=""),
        LayerLibraries(
            files=(library("usr/lib/private/libhere.so.2.1", package=""),),
            links={"usr/lib/private/libhere.so.2": "libhere.so.2.1"},
        ),
    )
    assert missed(user, *preloaded) == ()
    assert missed(user) == ("libcublas.so.12", "libfile.so", "libhere.so.2")


@pytest.mark.parametrize(
    "name",
    ["libcuda.so.1", "libnvidia-ml.so.1", "libnvcuvid.so.1", "libnvoptix.so.1", "libGLX_nvidia.so.0", "libcuda.so"],
)
def test_the_drivers_libraries_are_not_missed_but_named(name: str) -> None:
    found = find_missing(tree(library(CORE, name)))
    assert found == Missing(driver={"shape 1.0": (name,)})


@pytest.mark.parametrize("name", ["libcudart.so.12", "libnvrtc.so.12", "libnvinfer.so.10", "libcudnn.so.9"])
def test_what_only_looks_like_the_drivers_is_missed(name: str) -> None:
    assert missed(library(CORE, name)) == (name,)


@pytest.mark.parametrize(
    "other",
    [
        library(f"{SITE}/a/a.so", "libz.so.9", machine=183),
        library(f"{SITE}/a/a.so", "libz.so.9", machine=3, bits=32),
        library(f"{SITE}/a/a.so", "libz.so.9", "libc.musl-x86_64.so.1"),
        library(f"{SITE}/a/a.so", "libz.so.9", "libc.so"),
        library(f"{LIB}/libbase.so.1", "libz.so.9", package="libbase1 1.0"),
        Library(path=f"{SITE}/a/a.so", package="a 1", elf=None),
    ],
    ids=["machine", "32 bits", "musl", "android", "the base's own", "malformed"],
)
def test_what_is_left_alone(other: Library) -> None:
    assert find_missing(tree(other)) == Missing()


def test_a_plug_in_that_no_module_needs_is_told_apart() -> None:
    found = find_missing(
        tree(
            library(CORE, "libc.so.6"),
            library(f"{SITE}/cv2/qt/plugins/libqxcb.so", "libSM.so.6"),
            library(f"{SITE}/bin.libs/libmain.so.3", "libX11.so.6"),
        )
    )
    assert found.findings == ()
    assert [(one.module, one.libraries) for one in found.optional] == [("cv2", ("libSM.so.6", "libX11.so.6"))]


def test_without_modules_the_unversioned_libraries_are_what_is_loaded() -> None:
    found = find_missing(
        tree(
            library(f"{SITE}/lightgbm/lib/lib_lightgbm.so", "libgomp.so.1", package="lightgbm 4.7"),
            library(f"{SITE}/nvidia/cufile/lib/libcufile_rdma.so.1", "libmlx5.so.1", package="nvidia-cufile-cu12 1.14"),
        )
    )
    assert [(one.package, one.libraries) for one in found.findings] == [("lightgbm 4.7", ("libgomp.so.1",))]
    assert [(one.package, one.libraries) for one in found.optional] == [("nvidia-cufile-cu12 1.14", ("libmlx5.so.1",))]


def test_programs_of_the_environment_are_started_by_people() -> None:
    tool = library("opt/env/bin/tool", "libtool.so.2", package="tool 3.0")
    inner = library(f"{SITE}/shape/bin/helper", "libhelper.so.2")
    found = find_missing(tree(tool, inner, library(f"{SITE}/shape/a.abi3.so")))
    assert [(one.module, one.libraries) for one in found.findings] == [("tool", ("libtool.so.2",))]
    assert [one.libraries for one in found.optional] == [("libhelper.so.2",)]


@pytest.mark.parametrize("name", ["omppool", "tbbpool"])
def test_what_a_package_only_tries_is_no_finding(name: str) -> None:
    pool = library(f"{SITE}/numba/np/ufunc/{name}.cpython-311-x86_64-linux-gnu.so", "libtbb.so.12", package="numba 0.6")
    other = library(f"{SITE}/numba/_helperlib.cpython-311-x86_64-linux-gnu.so", "libc.so.6", package="numba 0.6")
    found = find_missing(tree(pool, other))
    assert found.findings == ()
    assert [one.libraries for one in found.optional] == [("libtbb.so.12",)]


def test_of_several_builds_of_one_module_one_must_do() -> None:
    builds = [
        library(f"{SITE}/mpi4py/MPI.{name}.cpython-311-x86_64-linux-gnu.so", needed, package="mpi4py 4.1")
        for name, needed in (("mpich", "libmpi.so.12"), ("openmpi", "libmpi.so.40"))
    ]
    assert missed(*builds) == ("libmpi.so.12", "libmpi.so.40")
    openmpi = library(f"{LIB}/libmpi.so.40", soname="libmpi.so.40", package="libopenmpi3 4.1")
    assert missed(*builds, openmpi) == ()


# Symbol versions


def test_versions_above_the_bases() -> None:
    needs = {
        "libc.so.6": ("GLIBC_2.17", "GLIBC_2.32", "GLIBC_2.34", "GLIBC_2.33", "GLIBC_ABI_DT_RELR"),
        "libm.so.6": ("GLIBC_2.28",),
        "libstdc++.so.6": ("GLIBCXX_3.4.9", "GLIBCXX_3.4.30", "GLIBCXX_3.4.29", "CXXABI_1.3.13"),
    }
    (finding,) = find_missing(tree(library(CORE, needs=needs))).findings
    assert finding.libraries == ()
    assert finding.versions == (
        VersionGap(library="libc.so.6", version="GLIBC_2.34", found="GLIBC_2.31"),
        VersionGap(library="libc.so.6", version="GLIBC_ABI_DT_RELR", found=""),
        VersionGap(library="libstdc++.so.6", version="CXXABI_1.3.13", found="CXXABI_1.3.12"),
        VersionGap(library="libstdc++.so.6", version="GLIBCXX_3.4.30", found="GLIBCXX_3.4.28"),
    )


def test_a_newer_library_of_that_name_in_the_image_has_the_version() -> None:
    user = library(CORE, needs={"libstdc++.so.6": ("GLIBCXX_3.4.30",)})
    own = library(f"{SITE}/shape.libs/libstdc++.so.6", soname="libstdc++.so.6", defines=("GLIBCXX_3.4.30",))
    assert find_missing(tree(user, own)) == Missing()


@pytest.mark.parametrize("plain", [library(f"{LIB}/libz.so.1"), Library(path=f"{LIB}/libz.so.1", package="", elf=None)])
def test_a_library_without_versions_is_taken_as_it_is(plain: Library) -> None:
    user = library(CORE, needs={"libz.so.1": ("ZLIB_1.2",)})
    assert find_missing(tree(user, plain)) == Missing()


def test_the_gaps_of_a_packages_files_are_put_together() -> None:
    found = find_missing(
        tree(
            library(f"{SITE}/a/one.abi3.so", "libX.so.1", needs={"libc.so.6": ("GLIBC_2.32",)}),
            library(f"{SITE}/a/two.abi3.so", "libX.so.1", "libA.so", needs={"libc.so.6": ("GLIBC_2.36",)}),
        )
    )
    (finding,) = found.findings
    assert finding.libraries == ("libA.so", "libX.so.1")
    assert [gap.version for gap in finding.versions] == ["GLIBC_2.36"]


@pytest.mark.parametrize(
    ("files", "module"),
    [
        ([f"{SITE}/cv2/cv2.abi3.so"], "cv2"),
        ([f"{SITE}/opencv_python.libs/libQt5Gui.so.5", f"{SITE}/cv2/cv2.abi3.so"], "cv2"),
        ([f"{SITE}/_cffi_backend.cpython-311-x86_64-linux-gnu.so"], "_cffi_backend"),
        ([f"{SITE}/x.libs/liba.so.1"], "liba.so.1"),
        (["opt/env/bin/tool"], "tool"),
        ([], ""),
    ],
)
def test_the_name_people_know_files_by(files: list[str], module: str) -> None:
    assert module_of(files) == module


# Words

GL = Finding(package="opencv-python 4.12", module="cv2", libraries=("libGL.so.1", "libglib-2.0.so.0", "libX11.so.6"))
KNOWN = Packages(
    {"libGL.so.1": "libgl1", "libglib-2.0.so.0": "libglib2.0-0", "libX11.so.6": "libx11-6"}, {"libgl1": ["libx11-6"]}
)
OLD = Finding(
    package="shape 1.0",
    module="shape",
    versions=(
        VersionGap(library="libc.so.6", version="GLIBC_2.34", found="GLIBC_2.31"),
        VersionGap(library="libc.so.6", version="GLIBC_ABI_DT_RELR"),
        VersionGap(library="libother.so.1", version="OTHER_3", found="OTHER_2"),
    ),
)


def lines(*findings: Finding, packages: Packages = KNOWN, debian: bool = True) -> list[str]:
    return list(missing_lines(Missing(findings=findings), packages, base="slim", debian=debian))


def test_the_packages_to_add_are_as_few_as_bring_all() -> None:
    assert lines(GL) == [
        (
            "cv2 (opencv-python 4.12) needs libGL.so.1, libglib-2.0.so.0 and libX11.so.6, which nothing in this image "
            "provides: add libgl1 and libglib2.0-0 to base.slim.packages"
        )
    ]


def test_packages_that_bring_each_other_do_not_both_vanish() -> None:
    circle = Packages({"libGL.so.1": "a", "libX11.so.6": "b"}, {"a": ["b"], "b": ["a"]})
    assert lines(GL, packages=circle)[0].endswith("add a to base.slim.packages")


def test_without_a_packages_name_the_warning_stands() -> None:
    assert lines(GL, packages=Packages())[0].endswith("provides: add what has it to base.slim.packages")
    assert lines(GL, debian=False)[0].endswith("provides: add what has it to the image of base.slim")


def test_versions_in_words() -> None:
    (line,) = lines(OLD)
    needs, _, advice = line.partition(": ")
    assert needs == (
        "shape 1.0 needs GLIBC_2.34 (this image's glibc has GLIBC_2.31 at most), "
        "GLIBC_ABI_DT_RELR (libc.so.6 here has none) and OTHER_3 (this image's libother.so.1 has OTHER_2 at most)"
    )
    assert advice == "choose a newer suite for base.slim, or a build of shape for an older system"


def test_a_long_list_is_cut() -> None:
    many = Finding(package="gui 1", module="gui", libraries=tuple(f"lib{number}.so" for number in range(10, 40)))
    assert "lib16.so, lib17.so and 22 more, which nothing" in lines(many)[0]


def test_a_file_of_no_known_package() -> None:
    (line,) = lines(Finding(package="", module="stray", libraries=("liba.so",)))
    assert line.startswith("stray (of no package) needs liba.so, which")


def test_the_document_comes_back_through_json() -> None:
    missing = Missing(findings=(GL, OLD), optional=(GL,), driver={"torch 2": ("libcuda.so.1",)})
    assert missing_from_document(json.loads(json.dumps(missing_document(missing)))) == missing


def test_an_empty_image_lacks_nothing() -> None:
    assert find_missing(LibraryTree([], AMD64)) == Missing()
    assert find_missing(LibraryTree([base()], AMD64)) == Missing()
