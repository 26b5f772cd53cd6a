"""`repro.toml` to a project, and every way in which it can be wrong, with the message a person gets."""

from __future__ import annotations

import textwrap

import pytest

from repro_env.config.model import Data, DebianBase, Project, PythonRequest, Step
from repro_env.config.read import read_project
from repro_env.errors import ConfigError
from repro_env.values import Platform, PythonVersion

GOOD = """\
[project]
name = "churn"
platforms = ["linux/amd64", "linux/arm64"]

[base.slim]
debian = "bookworm"
packages = ["libgomp1"]
mirror = "http://mirror.example/debian"

[data.raw]
path = "./data//raw/"

[step.train]
base = "slim"
python = "3.12"
group = "train"
command = ["python", "train.py", "{output.table@clean}", "--to={output.model}", "{not} {data}"]
inputs = ["clean.table"]
outputs = { model = "build/model.pt" }
env = { CUBLAS_WORKSPACE_CONFIG = ":4096:8" }
network = true

[step.clean]
base = "slim"
python = "3.11"
dependencies = ["pandas>=2,<3", "pyarrow"]
requirements = ["base.txt", "../shared.txt"]
script = "clean.py"
command = ["python", "clean.py", "{data.raw}", "{output.table}"]
inputs = ["raw"]
outputs = { table = "build/table.parquet" }
code = ["clean.py", "lib/**/*.py"]
"""


def problems(text: str, *, table: tuple[str, ...] = (), file: str = "repro.toml") -> list[str]:
    """Return the lines of the error that this text gives, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        read_project(text, file=file, table=table)
    return [line.removeprefix(f"{file}:") for line in caught.value.why.splitlines()]


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def test_everything_is_read() -> None:
    both = (Platform("amd64"), Platform("arm64"))
    slim = DebianBase(name="slim", debian="bookworm", packages=("libgomp1",), mirror="http://mirror.example/debian")
    clean = Step(
        name="clean",
        base="slim",
        python=PythonRequest(
            version=PythonVersion(11),
            dependencies=("pandas>=2,<3", "pyarrow"),
            files=("base.txt", "../shared.txt"),
            script="clean.py",
        ),
        command=("python", "clean.py", "{data.raw}", "{output.table}"),
        inputs=("raw",),
        outputs={"table": "build/table.parquet"},
        code=("clean.py", "lib/**/*.py"),
    )
    train = Step(
        name="train",
        base="slim",
        python=PythonRequest(version=PythonVersion(12), group="train"),
        command=("python", "train.py", "{output.table@clean}", "--to={output.model}", "{not} {data}"),
        inputs=("clean.table",),
        outputs={"model": "build/model.pt"},
        env={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        network=True,
    )
    assert read_project(GOOD, file="repro.toml") == Project(
        name="churn",
        file="repro.toml",
        platforms=both,
        bases={"slim": slim},
        data={"raw": Data(name="raw", path="data/raw")},
        steps={"clean": clean, "train": train},
    )


def test_steps_come_in_dependency_order_and_otherwise_as_in_the_file() -> None:
    text = '[project]\nname = "x"\n[base.b]\ndebian = "trixie"\n'
    needs = {"e": [], "d": ["a", "c"], "a": [], "c": ["b"], "b": []}
    for name, inputs in needs.items():
        listed = ", ".join(f'"{other}.o"' for other in inputs)
        text += f'[step.{name}]\nbase = "b"\npython = "3.13"\ncommand = ["x"]\ninputs = [{listed}]\n'
        text += f'outputs = {{ o = "out/{name}" }}\n'
    assert list(read_project(text, file="repro.toml").steps) == ["e", "a", "b", "c", "d"]


def test_what_may_be_left_out() -> None:
    text = (
        '[project]\nname = "x"\n[base.b]\ndebian = "trixie"\n[step.s]\nbase = "b"\npython = "3.13"\ncommand = ["x"]\n'
    )
    project = read_project(text, file="repro.toml")
    assert project.platforms == (Platform("amd64"),)
    assert project.steps["s"].code is None
    assert project.steps["s"].outputs == {}
    assert not project.steps["s"].network
    assert project.bases["b"] == DebianBase(name="b", debian="trixie")


def test_a_table_of_pyproject_is_read_the_same_and_its_lines_are_the_files() -> None:
    own = "".join(
        line.replace("[", "[tool.repro.", 1) if line.startswith("[") else line
        for line in GOOD.splitlines(keepends=True)
    )
    table = ("tool", "repro")
    text = '[project]\nname = "Churn"\n\n' + own.replace('name = "churn"\n', "")
    project = read_project(text, file="pyproject.toml", table=table)
    assert project == read_project(GOOD, file="pyproject.toml")
    assert project.name == "churn"
    found = problems(changed("bookworm", "BOOK", text), table=table, file="pyproject.toml")
    assert found == [
        '8: tool.repro.base.slim.debian: expected the name of a Debian suite such as "bookworm", found "BOOK"'
    ]
    assert problems("[tool.repo]", table=table, file="pyproject.toml") == [" tool.repro: missing, or not a table"]


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over() -> None:
    plain = read_project(GOOD, file="repro.toml")
    assert read_project("\ufeff" + GOOD.replace("\n", "\r\n"), file="repro.toml") == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = ", "1: not valid TOML: invalid value"),
        ("[a]\nb = 1\nb = 2\n", "3: not valid TOML: cannot overwrite a value"),
        ('[a]\nb = """', "2: not valid TOML: unterminated string"),
        ("a = " + "9" * 5000, " not valid TOML: a number has too many digits"),
        ("a = " + "[" * 5000, " not valid TOML: values are nested too deeply"),
    ],
    ids=["no value", "twice", "end of file", "digits", "depth"],
)
def test_what_is_not_toml_is_told_with_its_line(text: str, expected: str) -> None:
    (found,) = problems(text)
    assert found.startswith(expected)


BAD: dict[str, tuple[str, list[str]]] = {
    "project missing": (
        changed('[project]\nname = "churn"\nplatforms = ["linux/amd64", "linux/arm64"]\n', ""),
        [' project: missing (add [project] with name = "...")'],
    ),
    "name missing": (changed('name = "churn"\n', ""), ['1: project.name: missing (add name = "...")']),
    "name": (
        changed('"churn"', '"Churn!"'),
        [("2: project.name: 'Churn!' is not a name: use lower-case letters and digits, with -, _ or __ between them")],
    ),
    "platform": (
        changed('"linux/amd64", "linux/arm64"', '"linux/amd64", "linux/riscv", 3, "linux/amd64", "darwin/arm64"'),
        [
            "3: project.platforms[1]: unknown platform linux/riscv; known are linux/amd64, linux/arm64",
            "3: project.platforms[2]: expected a string, found a number",
            '3: project.platforms[3]: "linux/amd64" is listed twice',
            "3: project.platforms[4]: expected linux/amd64 or linux/arm64, found 'darwin/arm64'",
        ],
    ),
    "no platform": (
        changed('["linux/amd64", "linux/arm64"]', "[]"),
        ["3: project.platforms: expected at least one, found an empty list"],
    ),
    "unknown top table": (
        changed("[data.raw]", "[dta.raw]"),
        [
            "10: dta: unknown key (did you mean data?)",
            '30: step.clean.inputs[0]: unknown input "raw" (known are train.model, clean.table)',
        ],
    ),
    "later tables": (
        GOOD + '[target.cluster]\nkind = "slurm"\n',
        ["33: target: is not supported by this version of repro"],
    ),
    "image base": (
        changed('mirror = "http://mirror.example/debian"', 'image = "Not:an:Image"'),
        [
            "6: base.slim.debian: does not go with image: a base is made of Debian packages or is an image",
            "7: base.slim.packages: does not go with image: a base is made of Debian packages or is an image",
            (
                "8: base.slim.image: 'Not:an:Image' is not an image reference such as docker.io/library/python:3.12: "
                "a repository is lower-case words with /, ., _ or - between them"
            ),
        ],
    ),
    "what is said of an image": (
        changed(
            'debian = "bookworm"\npackages = ["libgomp1"]\nmirror = "http://mirror.example/debian"',
            'image = "x:1"\npython = "3.12.3"\n[base.other]\nimage = "x:1"\nglibc = "2.39"\npython = "3.12"',
        ),
        [
            "7: base.slim.python: goes with glibc: say both, or neither, and both are read out of the image",
            '11: base.other.python: expected a full version such as "3.12.3", found "3.12"',
        ],
    ),
    "what is said of an image, of packages": (
        changed('mirror = "http://mirror.example/debian"', 'glibc = "3"'),
        ["8: base.slim.glibc: is for a base that is an image: the packages decide it here"],
    ),
    "base without suite": (
        changed('debian = "bookworm"\n', ""),
        [
            (
                '5: base.slim.debian: missing (name a suite, such as debian = "bookworm", '
                'or an image = "REGISTRY/REPOSITORY:TAG")'
            )
        ],
    ),
    "debian packages": (
        changed('["libgomp1"]', '["libgomp1=12", "libgl1", "libgl1"]'),
        [
            (
                '7: base.slim.packages[0]: "libgomp1=12" is not the name of a Debian package such as "libgomp1"; '
                "versions go into the lock"
            ),
            '7: base.slim.packages[2]: "libgl1" is listed twice',
        ],
    ),
    "mirror": (
        changed("http://mirror.example", "mirror.example"),
        ['8: base.slim.mirror: expected a URL such as "https://deb.debian.org/debian"'],
    ),
    "password": (
        changed("http://mirror.example", "http://me:secret@mirror.example"),
        ["8: base.slim.mirror: expected a URL without user name and password: put those into ~/.netrc"],
    ),
    "data path missing": (
        changed('path = "./data//raw/"\n', ""),
        ['10: data.raw.path: missing (add path = "...", a file or directory of the project, or uri = "...")'],
    ),
    "data path": (
        changed("./data//raw/", "../raw"),
        ['11: data.raw.path: "../raw" leads out of the project: ".." is not allowed'],
    ),
    "data is the project": (
        changed("./data//raw/", "."),
        ["11: data.raw.path: expected a path inside the project, found the project itself"],
    ),
    "step key": (
        changed('python = "3.12"', 'pyhton = "3.12"'),
        [
            '13: step.train.python: missing (add python = "3.11" or another version)',
            "15: step.train.pyhton: unknown key (did you mean python?)",
        ],
    ),
    "python patch version": (
        changed('"3.12"', '"3.12.4"'),
        ["15: step.train.python: expected a minor version such as \"3.11\", found '3.12.4'"],
    ),
    "python as a number": (
        changed('"3.12"', "3.12"),
        ["15: step.train.python: expected a string, found a decimal number (write it in quotes)"],
    ),
    "unknown base": (changed('"slim"', '"slm"'), ['14: step.train.base: unknown base "slm" (did you mean slim?)']),
    "command missing": (
        changed('command = ["python", "clean.py", "{data.raw}", "{output.table}"]\n', ""),
        ['23: step.clean.command: missing (add command = ["python", "SCRIPT.py"])'],
    ),
    "command as text": (
        changed('["python", "clean.py", "{data.raw}", "{output.table}"]', '"python clean.py"'),
        ["29: step.clean.command: expected a list, found a string (write it as a list, in [ and ])"],
    ),
    "empty command": (
        changed('["python", "clean.py", "{data.raw}", "{output.table}"]', "[]"),
        ['29: step.clean.command: expected at least one, found an empty list (add command = ["python", "SCRIPT.py"])'],
    ),
    "NUL in command": (
        changed('"clean.py", "{data', '"clean\\u0000.py", "{data'),
        ["29: step.clean.command[1]: a NUL character cannot be passed to a program"],
    ),
    "requirements": (
        changed(
            '["pandas>=2,<3", "pyarrow"]',
            '[\n  "pandas=2",\n  "-r x.txt",\n  "./lib",\n  "py arrow",\n  "a>=1;python_version<\'3\'",\n  "b @ file:///x"]',
        ),
        [
            (
                '27: step.clean.dependencies[0]: "pandas=2" is not a requirement such as "pandas>=2,<3": '
                "an exact version is written =="
            ),
            (
                '28: step.clean.dependencies[1]: "-r x.txt" is not a requirement such as "pandas>=2,<3": '
                "options belong into a requirements file or uv's configuration"
            ),
            (
                '29: step.clean.dependencies[2]: "./lib" is not a requirement such as "pandas>=2,<3": '
                'a file or URL is written "NAME @ URL"'
            ),
            '30: step.clean.dependencies[3]: "py arrow" is not a requirement such as "pandas>=2,<3"',
        ],
    ),
    "absolute requirements file": (
        changed('"base.txt"', '"/base.txt"'),
        ['27: step.clean.requirements[0]: "/base.txt" is absolute: paths are relative to the project'],
    ),
    "empty group": (changed('group = "train"', 'group = ""'), ["16: step.train.group: not a distribution name: ''"]),
    "script outside": (
        changed('script = "clean.py"', 'script = "../clean.py"'),
        ['28: step.clean.script: "../clean.py" leads out of the project: ".." is not allowed'],
    ),
    "unknown input": (
        changed('["clean.table"]', '["clean.tabel", "rwa"]'),
        [
            (
                "17: step.train.command[2]: {output.table@clean} is not an input of this step "
                '(add "clean.table" to its inputs)'
            ),
            '18: step.train.inputs[0]: unknown input "clean.tabel" (did you mean clean.table?)',
            '18: step.train.inputs[1]: unknown input "rwa" (did you mean raw?)',
        ],
    ),
    "a step as input": (
        changed('["clean.table"]', '["clean.table", "clean"]'),
        ['18: step.train.inputs[1]: "clean" is a step: an input is one of its outputs (name "clean.table")'],
    ),
    "input twice": (
        changed('["clean.table"]', '["clean.table", "clean.table"]'),
        ['18: step.train.inputs[1]: "clean.table" is listed twice'],
    ),
    "placeholders": (
        changed(
            '"{data.raw}", "{output.table}"', '"{data.rw}", "x{output.tabel}", "{outputs.table}", "{data.raw@clean}"'
        ),
        [
            "29: step.clean.command[2]: {data.rw} is not an input of this step (did you mean raw?)",
            "29: step.clean.command[3]: {output.tabel} is not an output of this step (did you mean table?)",
            (
                "29: step.clean.command[4]: {outputs.table} is not a placeholder "
                "(write {data.NAME}, {output.NAME} or {output.NAME@STEP})"
            ),
            (
                "29: step.clean.command[5]: {data.raw@clean} is not a placeholder "
                "(write {data.NAME}, {output.NAME} or {output.NAME@STEP})"
            ),
        ],
    ),
    "placeholder of no output": (
        changed('outputs = { model = "build/model.pt" }\n', ""),
        ["17: step.train.command[3]: {output.model} is not an output of this step (step.train has no outputs)"],
    ),
    "cycle": (
        changed('inputs = ["raw"]', 'inputs = ["raw", "train.model"]'),
        ["18: step.train.inputs: steps wait for each other: train -> clean -> train"],
    ),
    "own output": (
        changed('inputs = ["raw"]', 'inputs = ["raw", "clean.table"]'),
        ["30: step.clean.inputs: a step cannot take its own output"],
    ),
    "outputs": (
        changed(
            '{ table = "build/table.parquet" }', '{ Table = "x", table = "/tmp/x", up = "a/../b", n = 1, dot = "" }'
        ),
        [
            (
                "31: step.clean.outputs.Table: 'Table' is not a name: use lower-case letters and digits, "
                "with -, _ or __ between them"
            ),
            "31: step.clean.outputs.dot: expected a path, found an empty string",
            "31: step.clean.outputs.n: expected a string, found a number (write it in quotes)",
            '31: step.clean.outputs.table: "/tmp/x" is absolute: paths are relative to the project',
            '31: step.clean.outputs.up: "a/../b" leads out of the project: ".." is not allowed',
        ],
    ),
    "outputs with comparisons": (
        changed(
            '{ table = "build/table.parquet" }',
            '{ a = { path = "a", compare = "numerc" }, b = { path = "b", compare = "numeric: rtl=1" }, '
            'c = { compare = "exact" }, d = { path = "d", comapre = "exact" } }',
        ),
        [
            '31: step.clean.outputs.a.compare: there is no comparison "numerc" (did you mean numeric?)',
            '31: step.clean.outputs.b.compare: "numeric" has no option "rtl" (did you mean rtol?)',
            '31: step.clean.outputs.c.path: missing (add path = "...", where the step leaves it)',
            "31: step.clean.outputs.d.comapre: unknown key (did you mean compare?)",
        ],
    ),
    "two outputs at one path": (
        changed('"build/table.parquet"', '"build/./model.pt"'),
        ['31: step.clean.outputs.table: "build/model.pt" is the path of step.train.outputs.model too'],
    ),
    "an output in another": (
        changed('"build/table.parquet"', '"build/model.pt/table"'),
        [
            (
                '31: step.clean.outputs.table: "build/model.pt/table" lies inside "build/model.pt", '
                "the path of step.train.outputs.model"
            )
        ],
    ),
    "an output around data": (
        changed('"build/table.parquet"', '"data"'),
        ['31: step.clean.outputs.table: "data/raw", the path of data.raw, lies inside "data"'],
    ),
    "an output among the runs": (
        changed('"build/table.parquet"', '".repro/table"'),
        ['31: step.clean.outputs.table: ".repro/table" lies inside ".repro", the path of the runs'],
    ),
    "an output in place of the lock": (
        changed('"build/table.parquet"', '"repro.lock"'),
        ['31: step.clean.outputs.table: "repro.lock" is the path of the lock too'],
    ),
    "variables that meet": (
        changed('{ table = "build/table.parquet" }', '{ table = "t", a-b = "x", a_b = "y" }'),
        ['31: step.clean.outputs: "a-b" and "a_b" would both be REPRO_OUTPUT_A_B (rename one of them)'],
    ),
    "code": (
        changed('"lib/**/*.py"', '"../lib", "/lib"'),
        [
            '32: step.clean.code[1]: "../lib" leads out of the project: ".." is not allowed',
            '32: step.clean.code[2]: "/lib" is absolute: paths are relative to the project',
        ],
    ),
    "env": (
        changed('CUBLAS_WORKSPACE_CONFIG = ":4096:8"', '"A B" = "x", REPRO_STORE = "y", C = 3, D = "\\u0000"'),
        [
            (
                '20: step.train.env."A B": not the name of an environment variable: use letters, digits and _, '
                "with no digit first"
            ),
            "20: step.train.env.C: expected a string, found a number",
            "20: step.train.env.D: a NUL character cannot be passed to a program",
            "20: step.train.env.REPRO_STORE: names that begin with REPRO_ are set by repro",
        ],
    ),
    "network": (
        changed("network = true", 'network = "yes"'),
        ["21: step.train.network: expected a boolean, found a string"],
    ),
    "a date": (
        changed("network = true", "network = 2020-01-01"),
        ["21: step.train.network: expected a boolean, found a date"],
    ),
    "step names": (
        changed(
            "[step.clean]", '[step."Clean.x"]', changed("{output.table@clean}", "", changed('["clean.table"]', "[]"))
        ),
        [
            (
                "23: step.\"Clean.x\": 'Clean.x' is not a name: use lower-case letters and digits, "
                "with -, _ or __ between them"
            )
        ],
    ),
    "step is no table": (
        '[project]\nname = "x"\n[step]\nclean = 3\n',
        ["4: step.clean: expected a table, found a number"],
    ),
    "no step": (
        '[project]\nname = "x"\n',
        [" step: missing (add a table [step.NAME] with base, python and command)"],
    ),
    "tables of the wrong kind": (
        'project = 1\nbase = []\ndata = "x"\nstep = 2020-01-01\n',
        [
            "1: project: expected a table, found a number",
            '1: project.name: missing (add name = "...")',
            "2: base: expected a table, found a list",
            "3: data: expected a table, found a string",
            "4: step: expected a table, found a date",
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_each_mistake_has_its_message(name: str) -> None:
    text, expected = BAD[name]
    assert problems(text) == expected


def test_all_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = textwrap.dedent("""\
        [project]
        name = "churn"
        colour = "red"

        [step.b]
        base = "nowhere"
        command = ["x", "{data.raw}"]
        outputs = { o = "../o" }

        [step.a]
        base = "nowhere"
        python = 3.11
        command = ["y"]
        inputs = ["b.o", "c.o"]
        """)
    with pytest.raises(ConfigError) as caught:
        read_project(text, file="sub/repro.toml")
    assert str(caught.value) == textwrap.dedent("""\
        repro.toml has 8 problems
          sub/repro.toml:3: project.colour: unknown key (known are name, platforms)
          sub/repro.toml:5: step.b.python: missing (add python = "3.11" or another version)
          sub/repro.toml:6: step.b.base: unknown base "nowhere" (there is no table [base.NAME])
          sub/repro.toml:7: step.b.command[1]: {data.raw} is not an input of this step
          sub/repro.toml:8: step.b.outputs.o: "../o" leads out of the project: ".." is not allowed
          sub/repro.toml:11: step.a.base: unknown base "nowhere" (there is no table [base.NAME])
          sub/repro.toml:12: step.a.python: expected a string, found a decimal number (write it in quotes)
          sub/repro.toml:14: step.a.inputs[1]: unknown input "c.o\"""").rstrip("\n")
    assert len(caught.value.problems) == 8
    assert all(problem.line for problem in caught.value.problems)
