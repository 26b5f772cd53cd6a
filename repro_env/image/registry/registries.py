"""Every registry a command talks to, through one client with the user's logins and certificates."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from repro_env.edges.http_client import HttpClient, Limits
from repro_env.errors import FetchError
from repro_env.image.registry.authority import HUB_HOST, RegistryAuthority
from repro_env.image.registry.client import Repository
from repro_env.image.registry.logins import Logins
from repro_env.values import DOCKER_HUB, ImageReference

_OPEN, _CLOSED = 200, 401
_INSECURE = "REPRO_INSECURE_REGISTRIES"


class Registries:
    """Makes repositories of references. Safe to use from several threads.

    A registry on this machine's loopback may speak plain HTTP, and so may those that `REPRO_INSECURE_REGISTRIES` names
    (hosts with their port, separated by commas); any other is spoken to over TLS alone.
    """

    def __init__(self, environ: Mapping[str, str], *, limits: Limits | None = None) -> None:
        self._plain = {name.strip() for name in environ.get(_INSECURE, "").split(",") if name.strip()}
        self._authority = RegistryAuthority(Logins(environ))
        self._bases: dict[str, str] = {}
        self._lock = threading.Lock()
        self.http = HttpClient(
            environ=environ, limits=limits, authority=self._authority, certificates=_certificates_of(environ)
        )

    def repository(self, reference: ImageReference, *, push: bool = False) -> Repository:
        """Return the repository of a reference; `push` says that it will be written to. Errors: `FetchError`."""
        base = self._base(reference.registry)
        if push:
            self._authority.will_push(base.partition("://")[2], reference.repository)
        return Repository(self.http, base, reference.registry, reference.repository)

    def _base(self, registry: str) -> str:
        with self._lock:
            if registry not in self._bases:
                self._bases[registry] = self._find_base(registry)
            return self._bases[registry]

    def _find_base(self, registry: str) -> str:
        host = HUB_HOST if registry == DOCKER_HUB else registry
        loopback = _is_loopback(host)
        if not loopback and host not in self._plain:
            return f"https://{host}"
        addresses = [f"http://{host}", f"https://{host}"] if loopback else [f"https://{host}", f"http://{host}"]
        failures: list[FetchError] = []
        for base in addresses:
            try:
                answer = self.http.send("GET", f"{base}/v2/", retry=False)
            except FetchError as error:
                why = f"{error.what}\n{error.why}".strip()
                failures.append(FetchError(f"cannot reach the registry {host}", why, error.hint))
                continue
            if answer.status in (_OPEN, _CLOSED):
                return base
            failures.append(FetchError(f"{host} is no registry", f"{base}/v2/ answered {answer.status}"))
        # A TLS server answers plain HTTP with 400, and its certificate is then what is of interest.
        raise failures[-1] if not loopback or failures[0].what.endswith("no registry") else failures[0]


def _is_loopback(host: str) -> bool:
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _certificates_of(environ: Mapping[str, str]) -> Callable[[str], Path | None]:
    """Return the function that finds a registry's own certificates where docker and podman look for them."""
    home = Path(environ.get("HOME") or Path.home())
    configuration = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    roots = (
        *(configuration / engine / "certs.d" for engine in ("containers", "docker")),
        *(Path("/etc") / engine / "certs.d" for engine in ("containers", "docker")),
    )
    return lambda host: next((root / host for root in roots if (root / host).is_dir()), None)
