"""`repro facts`: what this machine is, for `repro verify --machine` elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import click

from repro_env.cli.machine import this_machine


@click.command("facts")
@click.option("--json", is_flag=True, expose_value=False, help="As without it: there is no other form.")
def command() -> None:
    """Print what this machine is as JSON: driver, GPUs, processors, memory, disk, kernel.

    Saved on a cluster's node with `repro facts > node.json`, it is judged anywhere: `repro verify --machine node.json`.
    It needs no project. Only GPUs that CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES leave are in it.
    """
    click.echo(json.dumps(this_machine(Path.cwd()).to_dict(), indent=2))
