"""`[step.X.host]` held against the machine around the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from repro_env.config.machine import CPU_LEVELS, HostRequest
from repro_env.sizes import format_asked, format_size
from repro_env.verify.facts import Host
from repro_env.verify.findings import Finding, met, not_met, unknown


def check_host(asked: HostRequest, host: Host) -> Iterator[Finding]:
    """Yield a finding for everything that is asked of the host."""
    if asked.cpus:
        yield _cpus(asked.cpus, host.cpus)
    yield from _sizes(asked, host)
    if asked.kernel:
        yield _kernel(asked, host)
    if asked.architecture:
        yield _equal("architecture", asked.architecture, host.architecture)
    if asked.cpu:
        yield _cpu(asked.cpu, host)
    if asked.infiniband:
        yield _infiniband(host)


def _cpus(needed: int, found: int | None) -> Finding:
    words = "1 CPU" if needed == 1 else f"{needed} CPUs"
    if found is None:
        return unknown("cpus", words, "the facts do not tell")
    if found >= needed:
        return met("cpus", words, str(found))
    return not_met("cpus", words, str(found), "as many may be used by this process", "ask the scheduler for more")


def _sizes(asked: HostRequest, host: Host) -> Iterator[Finding]:
    ram = "ask the scheduler for more, or use a machine that has it"
    rows = (
        ("host-memory", "of memory", asked.memory, host.memory, ram),
        ("disk", "free on disk", asked.disk, host.disk, "free some space, or put the project on another disk"),
        ("shm", "of /dev/shm", asked.shm, host.shm, "mount it larger: mount -o remount,size=SIZE /dev/shm"),
    )
    for name, words, needed, found, hint in rows:
        text = f"{format_asked(needed)} {words}"
        if not needed:
            continue
        if found is None:
            yield unknown(name, text, "the facts do not tell")
        elif found >= needed:
            yield met(name, text, format_size(found))
        else:
            yield not_met(name, text, format_size(found), hint=hint)


def _kernel(asked: HostRequest, host: Host) -> Finding:
    needed = f"kernel {asked.kernel}"
    if not host.kernel:
        return unknown("kernel", needed, "the facts do not tell")
    if asked.kernel.accepts(host.kernel):
        return met("kernel", needed, host.kernel)
    return not_met("kernel", needed, host.kernel, hint="use a machine with such a kernel")


def _equal(name: str, needed: str, found: str) -> Finding:
    if not found:
        return unknown(name, needed, "the facts do not tell")
    if found == needed:
        return met(name, needed, found)
    return not_met(name, needed, found, hint="use a machine with such a processor")


def _cpu(needed: str, host: Host) -> Finding:
    if host.cpu_level is None:
        return unknown("cpu", needed, "the facts do not tell")
    found = CPU_LEVELS[min(host.cpu_level, len(CPU_LEVELS)) - 1] if host.cpu_level else host.architecture
    if host.cpu_level > CPU_LEVELS.index(needed):
        return met("cpu", needed, found)
    why = f"{host.processor or 'the processor'} lacks instructions of {needed}: programs made for it end with signal 4"
    return not_met("cpu", needed, found, why, "use a newer processor")


def _infiniband(host: Host) -> Finding:
    needed = "InfiniBand with an active port"
    if host.infiniband is None:
        return unknown("infiniband", needed, "the facts do not tell")
    if host.infiniband:
        return met("infiniband", needed, ", ".join(host.infiniband))
    return not_met("infiniband", needed, "none", hint="use a node of the fabric, or see ibstat")
