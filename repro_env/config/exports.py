"""Where runs are told to other tools as they happen: the table `[export]`."""

from __future__ import annotations

from urllib.parse import urlsplit

from repro_env.config import checks
from repro_env.config.table import Table
from repro_env.frozen import dataclass
from repro_env.values import check_identifier

_OPENLINEAGE = 'add url = "https://HOST" of a service, or file = "lineage.jsonl"'
_TRACKING = 'add tracking-uri = "https://HOST", the address of an MLflow server'


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLineageExport:
    """Events are posted to `url`, or appended to `file`, which is relative to the project; one of them is empty."""

    url: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowExport:
    """Runs go to the MLflow server at `tracking_uri`, into an experiment, which is made if it is not there."""

    tracking_uri: str
    experiment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbExport:
    """Runs are written below `directory`, relative to the project, as Weights & Biases' offline runs."""

    directory: str
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """What `[export]` asks for; None for what it does not."""

    openlineage: OpenLineageExport | None = None
    mlflow: MlflowExport | None = None
    wandb: WandbExport | None = None


def read_exports(root: Table, project: str) -> Exports:
    """Return the exports of a project of this name; what is wrong is noted in the table's problems."""
    if not root.has("export"):
        return Exports()
    table = root.table("export")
    table.only(("openlineage", "mlflow", "wandb"))
    return Exports(
        openlineage=_openlineage(table.table("openlineage")) if table.has("openlineage") else None,
        mlflow=_mlflow(table.table("mlflow"), project) if table.has("mlflow") else None,
        wandb=_wandb(table.table("wandb"), project) if table.has("wandb") else None,
    )


def _openlineage(table: Table) -> OpenLineageExport:
    table.only(("url", "file"))
    if table.has("url") and table.has("file"):
        table.problem("file", "does not go with url: events go to one place")
    url = table.text("url", check=_address, required="" if table.has("file") else _OPENLINEAGE)
    return OpenLineageExport(url=url, file=table.parsed("file", checks.inside_path, ""))


def _mlflow(table: Table, project: str) -> MlflowExport:
    table.only(("tracking-uri", "experiment"))
    uri = table.text("tracking-uri", check=_address, required=_TRACKING)
    return MlflowExport(tracking_uri=uri, experiment=table.text("experiment", check=checks.printable) or project)


def _wandb(table: Table, project: str) -> WandbExport:
    table.only(("directory", "project"))
    directory = table.parsed("directory", checks.inside_path, "") or "wandb"
    return WandbExport(directory=directory, project=table.text("project", check=check_identifier) or project)


def _address(text: str) -> None:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f'expected an address such as "https://HOST", found "{text}"')
    if parts.username or parts.password:
        raise ValueError("a password does not belong here: it is read from the environment, or from ~/.netrc")
