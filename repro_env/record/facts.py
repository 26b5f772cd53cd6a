"""What a record says of the machine a run is on."""

from __future__ import annotations

from pathlib import Path

from repro_env.edges.host import read_machine
from repro_env.record.model import HostFacts


def host_facts(root: Path = Path("/")) -> HostFacts:
    """Return what the kernel and the distribution say of this machine; what they do not say is empty."""
    machine = read_machine(root)
    return HostFacts(
        system=machine.system,
        kernel=f"Linux {machine.kernel}",
        architecture=machine.architecture,
        processor=machine.processor,
        cpus=machine.cpus,
        memory=machine.memory,
    )
