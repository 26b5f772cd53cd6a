"""Real suites resolved, built, unpacked and run; what is done without scripts is compared with what scripts do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repro_env.build.fetch import Wanted, fetch_all
from repro_env.config.model import DebianBase
from repro_env.edges.http_client import HttpClient
from repro_env.edges.report import Silent
from repro_env.image.debian import build_base_layers
from repro_env.image.layer import Layer
from repro_env.image.oci import Image, write_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.lock.model import DebianRoot, LockedBase
from repro_env.resolve.debian import resolve_base
from repro_env.resolve.debian.resolve import STANDARD
from repro_env.values import Platform, PythonVersion

pytestmark = pytest.mark.network

AMD64 = Platform("amd64")
EXTRA = ("libgomp1", "libopenblas0", "libblas3", "less", "nano", "git", "zlib1g-dev")


def resolve(
    store: Store,
    suite: str,
    *packages: str,
    platforms: tuple[Platform, ...] = (AMD64,),
    previous: LockedBase | None = None,
) -> LockedBase:
    return resolve_base(
        DebianBase(name="slim", debian=suite, packages=packages),
        platforms,
        pythons=(PythonVersion(11), PythonVersion(13)),
        http=HttpClient(),
        store=store,
        report=Silent(),
        now=datetime.now(UTC),
        previous=previous,
    )


def root_of(base: LockedBase, platform: Platform = AMD64) -> DebianRoot:
    root = base.roots[platform]
    assert isinstance(root, DebianRoot)
    return root


def fetch(store: Store, root: DebianRoot) -> None:
    wanted = [
        Wanted(digest=package.sha256, size=package.size, urls=(package.url,), label=package.name)
        for package in root.packages
    ]
    fetch_all(wanted, store=store, http=HttpClient(), report=Silent(), workers=4)


@dataclass(frozen=True, slots=True)
class Base:
    """A built base, unpacked: commands run in it under bwrap."""

    suite: str
    root: DebianRoot
    layers: tuple[Layer, ...]
    tree: Path

    def run(self, *command: str, check: bool = True) -> str:
        if os.environ.get("CI") is None and shutil.which("bwrap") is None:
            pytest.skip("bwrap is not installed")
        done = subprocess.run(
            [
                *("bwrap", "--ro-bind", self.tree, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
                *("--unshare-all", "--die-with-parent", "--clearenv", "--setenv", "LANG", "C.UTF-8"),
                *("--setenv", "PATH", "/usr/local/bin:/usr/bin:/usr/sbin", "--chdir", "/", *command),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done.stdout


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def base(request: pytest.FixtureRequest, shared_store: Store) -> Base:
    root = root_of(resolve(shared_store, request.param, *EXTRA))
    fetch(shared_store, root)
    layers = build_base_layers(root, shared_store)
    return Base(request.param, root, layers, root_filesystem(shared_store, layers))


def test_a_real_suite_is_pinned(base: Base) -> None:
    expected = {"bookworm": ("2.36", "3.11"), "trixie": ("2.41", "3.13")}[base.suite]
    assert (base.root.glibc, base.root.python.rpartition(".")[0]) == expected
    assert {package.name for package in base.root.packages if not package.extra} >= set(STANDARD) | {"python3"}
    assert [source.suite for source in base.root.sources] == [
        base.suite,
        f"{base.suite}-updates",
        f"{base.suite}-security",
    ]
    assert len(base.layers) == 3


def test_pins_are_kept_and_platforms_added(base: Base, shared_store: Store) -> None:
    before = LockedBase(name="slim", suite=base.suite, roots={AMD64: base.root})
    after = resolve(shared_store, base.suite, *EXTRA, platforms=(AMD64, Platform("arm64")), previous=before)
    assert root_of(after) == base.root
    arm = {package.name for package in root_of(after, Platform("arm64")).packages if not package.extra}
    assert arm == {package.name for package in base.root.packages if not package.extra}


@pytest.mark.parametrize("packages", [(), ("ffmpeg",), ("default-jre-headless", "r-base-core"), ("libopencv-dev",)])
def test_the_choice_equals_apts(
    packages: tuple[str, ...], shared_store: Store, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("apt-get")
    root = root_of(resolve(shared_store, "bookworm", *packages))
    for folder in ("etc/apt/preferences.d", "etc/apt/apt.conf.d", "lists/partial", "cache/archives/partial"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "status").touch()
    lines = [f"deb {source.url} {source.suite} {source.component}\n" for source in root.sources]
    (tmp_path / "etc/apt/sources.list").write_text("".join(lines))
    settings = {
        "Dir::Etc": tmp_path / "etc/apt",
        "Dir::State": tmp_path,
        "Dir::State::lists": tmp_path / "lists",
        "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path / "cache",
        "Dir::Etc::Trusted": "/usr/share/keyrings/debian-archive-keyring.gpg",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", *options, "update"], check=True, capture_output=True)
    names = [*STANDARD, "python3", "python3-distutils", *packages]
    done = subprocess.run(
        ["apt-get", *options, "install", "--simulate", "--no-install-recommends", *names],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    apt = dict(re.findall(r"^Inst (\S+) \((\S+) ", done.stdout, re.MULTILINE))
    assert {package.name: package.version for package in root.packages} == apt


PYTHON = """
import bz2, ctypes, ctypes.util, curses, dbm, decimal, hashlib, locale, lzma, pwd, readline, socket, sqlite3, ssl
import sys, time, uuid, zlib, zoneinfo
assert len(ssl.create_default_context().get_ca_certs()) > 100
assert ctypes.util.find_library("stdc++") == "libstdc++.so.6"
assert ctypes.util.find_library("gomp") == "libgomp.so.1"
ctypes.CDLL("libblas.so.3")
assert zoneinfo.ZoneInfo("Europe/Berlin").utcoffset(None) is None
assert time.tzname[0] == "UTC"
assert locale.setlocale(locale.LC_ALL, "") == "C.UTF-8"
assert pwd.getpwnam("root").pw_dir == "/root"
assert socket.getservbyname("https") == 443
print("%d.%d" % sys.version_info[:2])
"""


@pytest.mark.bwrap
def test_python_works(base: Base) -> None:
    version = base.root.python.rpartition(".")[0]
    for name in ("python3", f"python{version}"):
        assert base.run(name, "-W", "error", "-c", PYTHON).strip() == version


@pytest.mark.bwrap
def test_the_tools_work(base: Base) -> None:
    assert base.run("sh", "-c", "echo $((6*7)); readlink -f /bin/sh").split() == ["42", "/usr/bin/dash"]
    assert base.run("bash", "-c", 'echo "${BASH_VERSION%%.*}"').strip() == "5"
    assert base.run("awk", "BEGIN { print 6 * 7 }").strip() == "42"
    assert base.run("readlink", "-f", "/usr/bin/awk", "/usr/bin/pager", "/usr/bin/editor").split() == [
        "/usr/bin/mawk",
        "/usr/bin/less",
        "/usr/bin/nano",
    ]
    assert "openblas" in base.run("readlink", "-f", f"/usr/lib/{AMD64.multiarch}/libblas.so.3")
    assert base.run("git", "--version").startswith("git version")
    assert "hello" in base.run("sh", "-c", "echo hello | gzip | zcat | grep hello | sed s/x/y/")


@pytest.mark.bwrap
def test_dpkg_sees_what_is_installed(base: Base) -> None:
    shown = base.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version} ${Architecture}\n")
    expected = [f"ii  {package.name} {package.version} {package.architecture}" for package in base.root.packages]
    assert shown.splitlines() == expected
    assert base.run("dpkg", "--audit") == ""
    assert base.run("dpkg", "-S", "*bin/dash").split(":")[0] == "dash"
    assert base.run("update-alternatives", "--query", "awk").splitlines()[-1] != ""
    damaged = [line for line in base.run("dpkg", "-V", check=False).splitlines() if not line.startswith("missing")]
    assert damaged == []


@pytest.mark.bwrap
def test_the_linkers_cache_equals_ldconfigs(base: Base) -> None:
    ours = base.run("ldconfig", "-p").splitlines()[1:]
    real = base.run("sh", "-c", "ldconfig -X -C /tmp/cache && ldconfig -p -C /tmp/cache").splitlines()[1:]
    assert len(ours) > 50
    assert ours == [line for line in real if not line.startswith("Cache generated by")]


@pytest.mark.bwrap
def test_certificates_equal_those_of_update_ca_certificates(base: Base) -> None:
    """The script runs on a copy, with its own configuration's order, and `openssl rehash` makes the hash links."""
    script = """
    mkdir -p /tmp/etc/ssl/certs /tmp/usr/local/share/ca-certificates
    update-ca-certificates --etccertsdir /tmp/etc/ssl/certs --localcertsdir /tmp/none --hooksdir /tmp/none >&2
    sha256sum < /tmp/etc/ssl/certs/ca-certificates.crt; sha256sum < /etc/ssl/certs/ca-certificates.crt; echo --
    for folder in /tmp/etc/ssl/certs /etc/ssl/certs; do
        cd $folder; find . -type l -printf '%p %l\\n' | sort; echo --
    done
    """
    bundles, real, ours, _ = base.run("sh", "-ec", script).split("--\n")
    assert len(set(bundles.splitlines())) == 1
    assert real.count("\n") > 200
    assert ours == real


@pytest.mark.bwrap
def test_the_hash_links_serve_openssl(base: Base) -> None:
    names = base.run("sh", "-c", "ls /usr/share/ca-certificates/mozilla/*.crt").splitlines()[:20]
    shown = base.run("openssl", "verify", "-no_check_time", "-no-CAfile", "-CApath", "/etc/ssl/certs", *names)
    assert shown.splitlines() == [f"{name}: OK" for name in names]


def test_nothing_changes_its_user(base: Base) -> None:
    assert not [path for path in base.tree.rglob("*") if path.is_file() and path.lstat().st_mode & 0o6000]


def test_a_standard_layer_is_shared(base: Base, shared_store: Store) -> None:
    alone = root_of(resolve(shared_store, base.suite))
    assert build_base_layers(alone, shared_store)[0] == base.layers[0]


def test_what_is_built_again_elsewhere_is_the_same(base: Base, shared_store: Store, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path)
    for package in base.root.packages:
        shutil.copyfile(shared_store.blob(package.sha256), elsewhere.blob(package.sha256))
    assert build_base_layers(base.root, elsewhere) == base.layers


@pytest.mark.docker
def test_docker_runs_it(base: Base, shared_store: Store, requires: Callable[..., None]) -> None:
    requires("skopeo")
    name = f"repro-test-{uuid.uuid4().hex[:12]}"
    image = Image(platform=AMD64, layers=base.layers, env={"PATH": "/usr/bin", "LANG": "C.UTF-8"}, command=("python3",))
    reference = f"repro-test/{base.suite}"
    write_image(image, shared_store, reference=reference)
    try:
        source, target = f"oci:{shared_store.root}:{reference}", f"docker-daemon:{name}:latest"
        subprocess.run(["skopeo", "copy", "--insecure-policy", source, target], check=True, capture_output=True)
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", name, "python3", "-c", PYTHON],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == base.root.python.rpartition(".")[0]
    finally:
        subprocess.run(["docker", "rmi", "--force", name], check=False, capture_output=True)
