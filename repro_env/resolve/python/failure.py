"""What uv's refusals mean, in this program's words and with this step's interpreter and platform. Pure."""

from __future__ import annotations

import re

from repro_env.errors import FetchError, ReproError, ResolutionError
from repro_env.frozen import dataclass
from repro_env.resolve.python.pylock import NoWheelError
from repro_env.resolve.python.render import SCRIPT_PROJECT, STEP_PROJECT
from repro_env.resolve.python.request import StepRequest
from repro_env.values import strip_credentials

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s`'\"<>)]+")
_DRAWING = re.compile(
    r"^(?:\s*(?:[\u00d7\u2500-\u257f\u25b6]+|Caused by:|cause:))+\s?|^error: "
)  # of every uv since 0.8
_REACHED = re.compile(r"No solution found|Git operation failed|and build `")
_OFFLINE = re.compile(r"network was disabled|could not be queried due to a lack of valid authentication")
_UNREACHABLE = re.compile(
    r"error sending request|client error \(|dns error|tcp connect error|[Cc]onnection (?:refused|reset|closed)"
    r"|timed? ?out|HTTP status (?:server error|client error \((?:401|403|407|429))|Could not resolve host"
    r"|certificate|incomplete message|Failed to fetch|error decoding response body",
)
_NO_WHEEL = re.compile(
    r"Wheels are required for `(?P<required>[^`]+)`"
    r"|only found wheels for `(?P<found>[^`]+)`"
    r"|Building source distributions for `(?P<built>[^`]+)` is disabled"
    r"|[Dd]ownload and build `(?P<direct>[^`@ ]+)"
    r"|(?:Because|and) (?:all versions of )?(?P<named>[A-Za-z0-9._-]+)[^\s,]* ha(?:s|ve) no (?:usable )?wheels"
)
_UNKNOWN = re.compile(r"Because (?P<name>\S+) was not found in the (?:package registry|provided package locations)")
_NO_VERSION = re.compile(r"Because (?:there (?:is|are) no versions? of (?P<name>[A-Za-z0-9._-]+)(?P<asked>\S*))")


@dataclass(frozen=True, slots=True)
class _Case:
    """What happened and what to do about it."""

    what: str
    hint: str


def explain(request: StepRequest, said: str, directory: str) -> ReproError:
    """Return the error for what uv said on standard error. `directory` is the temporary one, which is not shown."""
    why = _named(request, clean(said, directory))
    text = " ".join(why.split())  # older uv breaks lines
    if _OFFLINE.search(text) or (_UNREACHABLE.search(text) and not _REACHED.search(text)):
        return FetchError(f"step {request.step}: a Python index cannot be reached", why, _reaching(text))
    case = _case(request, text)
    return ResolutionError(f"step {request.step}: {case.what}", why, case.hint)


def _reaching(text: str) -> str:
    if "pytorch.org" in text:
        return "check the network and the proxy variables; REPRO_TORCH_MIRROR names a mirror of PyTorch's indexes"
    return "check the network, the proxy variables and the index's address; credentials go to ~/.netrc or UV_INDEX"


def no_wheel(request: StepRequest, error: NoWheelError) -> ResolutionError:
    """Return the error for a package that was resolved to something that is no usable wheel."""
    return ResolutionError(
        f"step {request.step}: {error.package} has no usable wheel for {request.where}",
        error.found,
        f'allow it with build = ["{error.package}"] in the step, or put a wheel of it into a directory '
        "and name that in [tool.uv] find-links",
    )


def clean(said: str, directory: str) -> str:
    """Return uv's words without its drawing, the temporary directory, warnings about itself, and credentials."""
    lines = [line.rstrip() for line in said.replace(f"{directory}/", "").splitlines()]
    lines = [line for line in lines if line and not line.startswith("warning:")]
    drawn = [_DRAWING.sub("", line) for line in lines]
    # What goes on below a drawing is indented by the drawing's width.
    plain = [line for line, without in zip(lines, drawn, strict=True) if line == without and line.startswith(" ")]
    width = min((len(line) - len(line.lstrip()) for line in plain), default=0)
    text = "\n".join(line[width:] if line.startswith(" " * width) else line for line in drawn)
    return _URL.sub(lambda match: _shown(match[0]), text)


def _named(request: StepRequest, text: str) -> str:
    """Call the projects made for uv what people know them as."""
    return text.replace(STEP_PROJECT, f"step {request.step}").replace(SCRIPT_PROJECT, request.script or "the script")


def _shown(url: str) -> str:
    try:
        return strip_credentials(url)
    except ValueError:
        return "(an address)"


def _case(request: StepRequest, text: str) -> _Case:
    if match := _NO_WHEEL.search(text):
        package = next(value for value in match.groupdict().values() if value)
        asked = re.search(rf"(?:require|requires|depends on) {re.escape(package)}([=<>!~][^\s,]*)", text)
        return _Case(
            f"{package}{asked[1] if asked else ''} has no usable wheel for {request.where}",
            f"ask for a version that has one, choose another Python for the step, allow building it with "
            f'build = ["{package}"], or name a directory of wheels in [tool.uv] find-links',
        )
    if match := _UNKNOWN.search(text):
        return _Case(
            f"there is no package {match['name']} on the index",
            "check the spelling; if it is on another index, name that in [[tool.uv.index]]",
        )
    if match := _NO_VERSION.search(text):
        return _Case(
            f"there is no version of {match['name']} that fits {match['asked'] or 'what is asked for'}",
            "ask for a version that exists; exclude-newer, if set, hides newer ones",
        )
    if "we can conclude" in text:
        return _Case(
            f"its requirements contradict each other for {request.where}",
            "relax one of the requirements above; another step may ask for something else, each is resolved on its own",
        )
    return _Case(f"uv cannot resolve it for {request.where}", "")
