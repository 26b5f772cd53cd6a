"""What maintainer scripts would have done: alternatives, certificates, the linker's cache, dpkg's database."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from debmaker import Entry, Made, make_deb, make_library

from repro_env.errors import BuildError
from repro_env.image.debian.alternatives import Alternative, install_alternatives, read_alternatives
from repro_env.image.debian.certificates import install_certificates
from repro_env.image.debian.database import write_database
from repro_env.image.debian.deb import Deb, read_deb
from repro_env.image.debian.defaults import install_defaults, link_run_directories
from repro_env.image.debian.der import subject_hash
from repro_env.image.debian.linker import write_linker_cache
from repro_env.image.debian.spool import Spools
from repro_env.image.debian.tree import STATE, Tree

Unpack = Callable[..., tuple[Tree, list[Deb]]]


@pytest.fixture
def unpack(tmp_path: Path) -> Iterator[Unpack]:
    with Spools(tmp_path, 1) as spools:

        def into_tree(*made: Made) -> tuple[Tree, list[Deb]]:
            tree, debs = Tree(), []
            for one in made:
                (tmp_path / "blob").write_bytes(one.data)
                debs.append(read_deb(one.pin(), tmp_path / "blob", spools))
                tree.unpack(debs[-1])
            tree.layer = STATE
            return tree, debs

        yield into_tree


def links(tree: Tree) -> dict[str, str]:
    return {node.path: node.link for node in tree.nodes.values() if node.kind == "symlink" and node.layer == STATE}


def text(tree: Tree, path: str) -> str:
    node = tree.find(path)
    assert node is not None
    return node.read().decode()


# Alternatives

MAWK = """\
#!/bin/sh
set -e
if [ "$1" = "configure" ]; then
        update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\
            --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\
            --slave /usr/bin/nawk nawk /usr/bin/mawk || true
fi
"""
JAVA = """\
multiarch=x86_64-linux-gnu
priority=1711
basedir="/usr/lib/jvm/java-17"
tools='java keytool'
for i in $tools; do
    if [ -e $x ]; then slave1="--slave \\
        /usr/share/man/$i $i.1 x"
    fi
    update-alternatives \\
        --install /usr/bin/$i $i \\
        ${basedir}/bin/$i $priority \\
        $slave1 $slave2
done
while read line; do
    update-alternatives --quiet --install /usr/bin/jexec jexec $basedir/lib/jexec $priority
done
"""


def test_calls_are_read() -> None:
    assert list(read_alternatives(MAWK)) == [
        Alternative(
            link="/usr/bin/awk",
            name="awk",
            path="/usr/bin/mawk",
            priority=5,
            slaves={
                "awk.1.gz": ("/usr/share/man/man1/awk.1.gz", "/usr/share/man/man1/mawk.1.gz"),
                "nawk": ("/usr/bin/nawk", "/usr/bin/mawk"),
            },
        )
    ]


def test_assignments_and_loops_over_plain_words_are_followed() -> None:
    found = [(one.name, one.link, one.path, one.priority, one.slaves) for one in read_alternatives(JAVA)]
    assert found == [
        ("java", "/usr/bin/java", "/usr/lib/jvm/java-17/bin/java", 1711, {}),
        ("keytool", "/usr/bin/keytool", "/usr/lib/jvm/java-17/bin/keytool", 1711, {}),
        ("jexec", "/usr/bin/jexec", "/usr/lib/jvm/java-17/lib/jexec", 1711, {}),
    ]


@pytest.mark.parametrize(
    "script",
    [
        "# update-alternatives --install /usr/bin/a a /usr/bin/b 5",
        "update-alternatives --remove a /usr/bin/b",
        "update-alternatives --install /usr/bin/a a /usr/bin/b",
        "update-alternatives --install /usr/bin/a a /usr/bin/b high",
        "update-alternatives --install /usr/bin/$(arch) a /usr/bin/b 5",
        "update-alternatives --install /usr/bin/$unknown a /usr/bin/b 5",
        "update-alternatives --install relative a /usr/bin/b 5",
        "update-alternatives --install /usr/../../a a /usr/bin/b 5",
        "update-alternatives --install /usr/bin/a ../../a /usr/bin/b 5",
        "update-alternatives --install /usr/bin/a a '/usr/bin/b 5",
        "for i in $(ls); do\nupdate-alternatives --install /usr/bin/$i $i /usr/bin/b 5\ndone",
    ],
)
def test_calls_that_are_not_plain_are_left_alone(script: str) -> None:
    assert list(read_alternatives(script)) == []


def test_the_highest_priority_wins_and_slaves_follow(unpack: Unpack) -> None:
    mawk = make_deb("mawk", files={"usr/bin/mawk": b""}, control={"postinst": MAWK.encode()})
    line = b"update-alternatives --install /usr/bin/awk awk /usr/bin/gawk 10 --slave /usr/bin/nawk nawk /usr/bin/gawk\n"
    gawk = make_deb("gawk", files={"usr/bin/gawk": b""}, control={"postinst": line})
    absent = make_deb("x", control={"postinst": line.replace(b"gawk", b"xawk").replace(b"10", b"99")})
    tree, debs = unpack(mawk, gawk, absent)
    install_alternatives(tree, debs)
    assert links(tree) == {
        "etc/alternatives/awk": "/usr/bin/gawk",
        "etc/alternatives/nawk": "/usr/bin/gawk",
        "usr/bin/awk": "/etc/alternatives/awk",
        "usr/bin/nawk": "/etc/alternatives/nawk",
    }
    assert text(tree, "var/lib/dpkg/alternatives/awk") == (
        "auto\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\nnawk\n/usr/bin/nawk\n\n"
        "/usr/bin/gawk\n10\n\n/usr/bin/gawk\n"
        "/usr/bin/mawk\n5\n/usr/share/man/man1/mawk.1.gz\n/usr/bin/mawk\n\n"
    )


def test_a_real_file_is_not_replaced_by_an_alternative(unpack: Unpack) -> None:
    tree, debs = unpack(
        make_deb("mawk", files={"usr/bin/mawk": b"", "usr/bin/awk": b"own"}, control={"postinst": MAWK.encode()})
    )
    install_alternatives(tree, debs)
    assert text(tree, "usr/bin/awk") == "own"


# Certificates


@pytest.fixture(scope="module")
def system_certificates() -> list[Path]:
    found = sorted(Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))
    if not found:
        pytest.skip("no certificates in /usr/share/ca-certificates: the package ca-certificates is not installed")
    return found[::5]


def certificate(folder: Path, subject: str, *options: str) -> bytes:
    """Make a self-signed certificate with OpenSSL; its file is `folder/cert`."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "9",
    ]
    where = ["-keyout", str(folder / "key"), "-out", str(folder / "cert"), "-subj", subject]
    subprocess.run([*command, *where, *options], check=True, capture_output=True)
    return (folder / "cert").read_bytes()


def test_subject_hashes_equal_openssls(system_certificates: list[Path], requires: Callable[..., None]) -> None:
    requires("openssl")
    for path in system_certificates:
        der = subprocess.run(
            ["openssl", "x509", "-in", path, "-outform", "DER"], check=True, capture_output=True
        ).stdout
        shown = subprocess.run(
            ["openssl", "x509", "-in", path, "-noout", "-subject_hash"], check=True, capture_output=True
        )
        assert subject_hash(der) == shown.stdout.decode().strip(), path.name


@pytest.mark.parametrize(
    ("subject", "options"),
    [
        ("/C=DE/O=  Many   Spaces  /CN=MiXeD Case", []),
        ("/CN=Zürich Ünïcode", ["-utf8"]),
        ("/C=XX/CN=two+O=parts", ["-multivalue-rdn"]),
        ("/emailAddress=A@B.example/CN=mail", []),
        ("/CN=" + "long " * 12, []),
    ],
)
def test_subject_hashes_of_hard_names(
    tmp_path: Path, subject: str, options: list[str], requires: Callable[..., None]
) -> None:
    requires("openssl")
    certificate(tmp_path, subject, *options)
    command = ["openssl", "x509", "-in", str(tmp_path / "cert")]
    der = subprocess.run([*command, "-outform", "DER"], check=True, capture_output=True).stdout
    shown = subprocess.run([*command, "-noout", "-subject_hash"], check=True, capture_output=True).stdout
    assert subject_hash(der) == shown.decode().strip()


@pytest.mark.parametrize(
    "data", [b"", b"\x30", b"\x30\x02\x30\x00", b"\x30\x84\xff\xff\xff\xff", b"\x02\x01\x00", b"\x30\x00"]
)
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|not a certificate|unpack"):
        subject_hash(data)


def test_the_bundle_and_its_links(unpack: Unpack, tmp_path: Path, requires: Callable[..., None]) -> None:
    requires("openssl")
    one, two = certificate(tmp_path, "/CN=same"), certificate(tmp_path, "/CN=same")
    other = certificate(tmp_path, "/CN=other").rstrip(b"\n")
    made = make_deb(
        "ca-certificates",
        files={
            "etc/ssl/certs": Entry(kind=tarfile.DIRTYPE, mode=0o755),
            "usr/share/ca-certificates/mozilla/B (x),y z.crt": other,
            "usr/share/ca-certificates/mozilla/A.crt": one,
            "usr/share/ca-certificates/own/A2.crt": two,
            "usr/share/ca-certificates/own/Twice.crt": one,
            "usr/share/ca-certificates/own/Both.crt": one + two,
            "usr/share/ca-certificates/own/README": b"",
        },
    )
    tree, _debs = unpack(made)
    install_certificates(tree)
    assert tree.find("etc/ssl/certs/ca-certificates.crt").read() == one + other + b"\n" + two + one + two + one  # type: ignore[union-attr]
    found = links(tree)
    assert found["etc/ssl/certs/B_=x=_y_z.pem"] == "/usr/share/ca-certificates/mozilla/B (x),y z.crt"
    hashes = {path.rpartition("/")[2]: target for path, target in found.items() if re.search(r"\.[0-9]\Z", path)}
    assert sorted(target for target in hashes.values()) == ["A.pem", "A2.pem", "B_=x=_y_z.pem"]
    same = [name for name, target in hashes.items() if target in {"A.pem", "A2.pem"}]
    assert {name[-2:] for name in same} == {".0", ".1"}
    assert "mozilla/A.crt\nmozilla/B (x),y z.crt\nown/A2.crt\n" in text(tree, "etc/ca-certificates.conf")
    # OpenSSL's own tool makes the same links of the same files.
    folder = tmp_path / "certs"
    folder.mkdir()
    for path in found:
        node = tree.find(path)
        if path.endswith(".pem") and node is not None:
            (folder / path.rpartition("/")[2]).write_bytes(node.read())
    subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True)
    made_by_openssl = {link.name: str(link.readlink()) for link in folder.iterdir() if link.is_symlink()}
    assert made_by_openssl.keys() == hashes.keys()


def test_a_malformed_certificate_is_named(unpack: Unpack) -> None:
    bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    tree, _debs = unpack(make_deb("ca-certificates", files={"usr/share/ca-certificates/bad.crt": bad}))
    with pytest.raises(BuildError, match=r"/usr/share/ca-certificates/bad.crt of ca-certificates is not a certificate"):
        install_certificates(tree)


# The linker's cache

LIB = "usr/lib/x86_64-linux-gnu"


def libc() -> Made:
    return make_deb(
        "libc6",
        files={
            "etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n",
            "etc/ld.so.conf.d/x86_64-linux-gnu.conf": b"#\n/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n",
            "etc/ld.so.conf.d/zz.conf": b"/opt/z/lib # comment\n/nowhere\n",
            "etc/ld.so.conf.d/ignored.txt": b"/ignored\n",
            f"{LIB}/libc.so.6": make_library("libc.so.6"),
        },
    )


def cache(tree: Tree) -> list[tuple[str, str]]:
    """Read the cache back as glibc does: sonames and paths, in order."""
    data = tree.find("etc/ld.so.cache").read()  # type: ignore[union-attr]
    magic, count, length = struct.unpack_from("<20sII", data)
    assert (magic, len(data)) == (b"glibc-ld.so.cache1.1", 48 + 24 * count + length)

    def string(place: int) -> str:
        return data[place : data.index(b"\0", place)].decode()

    entries = [struct.unpack_from("<iIIIQ", data, 48 + 24 * index) for index in range(count)]
    assert {(flags, version, hwcap) for flags, _soname, _path, version, hwcap in entries} <= {(0x0303, 0, 0)}
    return [(string(soname), string(path)) for _flags, soname, path, _version, _hwcap in entries]


def test_the_cache(unpack: Unpack) -> None:
    made = make_deb(
        "libs",
        files={
            f"{LIB}/libx.so.1.2.3": make_library("libx.so.1"),
            f"{LIB}/libx.so.1": _link("libx.so.1.2.3"),
            f"{LIB}/libx.so": _link("libx.so.1"),
            f"{LIB}/libx.so.10": make_library("libx.so.10"),
            f"{LIB}/libx.so.9": make_library("libx.so.9"),
            f"{LIB}/libplain.so": make_library(""),
            f"{LIB}/libarm.so.1": make_library("libarm.so.1", machine=183),
            f"{LIB}/libscript.so": b"/* GNU ld script */",
            f"{LIB}/libbroken.so.1": make_library("libbroken.so.1")[:80],
            f"{LIB}/libdangling.so.1": _link("nowhere"),
            f"{LIB}/notalib": make_library("notalib"),
            f"{LIB}/plugins/libplugin.so": make_library("libplugin.so"),
            "opt/z/lib/libx.so.1": make_library("libx.so.1"),
            "usr/lib/libold.so.1": make_library("libold.so.1"),
        },
    )
    tree, debs = unpack(libc(), made)
    write_linker_cache(tree, debs)
    assert cache(tree) == [
        ("libx.so.10", "/lib/x86_64-linux-gnu/libx.so.10"),
        ("libx.so.9", "/lib/x86_64-linux-gnu/libx.so.9"),
        ("libx.so.1", "/lib/x86_64-linux-gnu/libx.so.1"),
        ("libx.so.1", "/opt/z/lib/libx.so.1"),
        ("libx.so", "/lib/x86_64-linux-gnu/libx.so"),
        ("libplain.so", "/lib/x86_64-linux-gnu/libplain.so"),
        ("libold.so.1", "/lib/libold.so.1"),
        ("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
    ]


def _link(target: str) -> Entry:
    return Entry(kind=b"2", link=target)


def test_without_a_c_library_there_is_no_cache(unpack: Unpack) -> None:
    tree, debs = unpack(make_deb("a"))
    write_linker_cache(tree, debs)
    assert tree.find("etc/ld.so.cache") is None


# dpkg's database


def test_the_database(unpack: Unpack) -> None:
    made = make_deb(
        "a",
        "1:2-3",
        files={"etc/a.conf": b"x=1\n", "usr/share/man/a": b"", "bin/a": b""},
        control={"conffiles": b"/etc/a.conf\n", "md5sums": b"0  bin/a\n", "postinst": b"#!/bin/sh\n", "other": b""},
    )
    tree, debs = unpack(make_deb("b", fields={"Multi-Arch": "same"}), made)
    write_database(tree, debs)
    digest = hashlib.md5(b"x=1\n").hexdigest()
    assert text(tree, "var/lib/dpkg/status") == (
        "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: amd64\n"
        f"Conffiles:\n /etc/a.conf {digest}\nDescription: the test package a\n\n"
        "Package: b\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nMulti-Arch: same\n"
        "Description: the test package b\n\n"
    )
    info = {node.path.rpartition("/")[2]: node.mode for node in tree.below("var/lib/dpkg/info")}
    assert info == {
        "a.conffiles": 0o644,
        "a.list": 0o644,
        "a.md5sums": 0o644,
        "a.postinst": 0o755,
        "b:amd64.list": 0o644,
        "format": 0o644,
    }
    assert text(tree, "var/lib/dpkg/info/a.list") == (
        "/.\n/etc\n/etc/a.conf\n/usr\n/usr/share\n/usr/share/man\n/usr/share/man/a\n/bin\n/bin/a\n"
    )


# Defaults


def test_defaults_come_from_the_packages_files(unpack: Unpack) -> None:
    directory = Entry(kind=b"5", mode=0o755)
    made = make_deb(
        "base-files",
        files={
            "usr/share/base-passwd/passwd.master": b"root:*:0:0:root:/root:/bin/bash\n",
            "usr/share/base-files/motd": b"hello",
            "usr/share/debianutils/shells": b"# list\n/bin/sh\n",
            "usr/share/debianutils/shells.d/bash": b"/bin/bash\n/usr/bin/bash\n",
            "var/run": directory,
            "var/lock": directory,
            "root": Entry(kind=b"5", mode=0o700),
            "etc/hosts": b"own",
        },
    )
    tree, _debs = unpack(made)
    link_run_directories(tree)
    install_defaults(tree)
    assert text(tree, "etc/passwd") == "root:*:0:0:root:/root:/bin/bash\n"
    assert text(tree, "etc/motd") == "hello"
    assert tree.find("etc/group") is None
    assert text(tree, "etc/hosts") == "own"
    assert text(tree, "etc/shells") == "# list\n/bin/sh\n/bin/bash\n/usr/bin/bash\n"
    assert links(tree)["var/run"] == "/run"
    assert links(tree)["etc/localtime"] == "/usr/share/zoneinfo/Etc/UTC"
    modes = {path: tree.nodes[path].mode for path in ("proc", "tmp", "root", "var/mail", "var/tmp", "run/lock")}
    assert modes == {
        "proc": 0o755,
        "tmp": 0o1777,
        "root": 0o700,
        "var/mail": 0o2775,
        "var/tmp": 0o1777,
        "run/lock": 0o1777,
    }
