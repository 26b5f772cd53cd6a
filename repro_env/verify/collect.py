"""This machine's facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repro_env.verify.facts import Facts
from repro_env.verify.host import read_host
from repro_env.verify.visible import visible


def collect(project: Path, environment: Mapping[str, str], *, gpus: bool = True, root: Path = Path("/")) -> Facts:
    """Return what this machine is for programs started here.

    `project` is a directory on the disk that counts; `environment` may hide GPUs. Without `gpus` the driver is not
    asked.
    """
    host = read_host(project, root)
    if not gpus:
        return Facts(host=host)
    from repro_env.verify.nvml import read_driver  # noqa: PLC0415 - only for a step with GPUs

    driver = read_driver(root)
    seen, hidden = visible(driver.gpus, environment)
    return Facts(
        host=host,
        driver=driver.version,
        cuda=driver.cuda,
        gpus=seen,
        no_driver=driver.missing,
        remedy=driver.remedy,
        hidden=hidden or driver.hidden,
    )
