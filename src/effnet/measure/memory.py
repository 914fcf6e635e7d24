"""The memory that is free, that is used, and that may be used.

A device is given as torch has it or by its name; torch is imported only where a GPU is asked of, as
a process that measures another runtime must not have it in its memory.
"""

import ctypes
import gc
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Device = torch.device | str

MEMINFO, STATUS, GROUPS, CLEAR = (
    Path("/proc/meminfo"),
    Path("/proc/self/status"),
    Path("/proc/self/cgroup"),
    Path("/proc/self/clear_refs"),
)

CGROUPS = {
    "": (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    "memory": (
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
    ),
}
"""Where Linux says how much a container may use, in version 2 and in version 1 of its way."""

RESET_PEAK = "5"
"""What Linux is told for it to forget a process's peak (man 5 proc_pid_clear_refs)."""


def free_memory(device: "Device") -> float:
    """Return the bytes of a device that are free; infinity where the system does not say."""
    if _is_gpu(device):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    found = [math.inf]
    with suppress(OSError, KeyError):
        found.append(1024 * _numbers(MEMINFO)["MemAvailable:"])
    for folder, limit, used in _cgroups():
        with suppress(OSError, KeyError, ValueError):  # there is none, or "max", which is no number
            # The cached pages of files count as used, but make room when asked.
            cached = _numbers(folder / "memory.stat")["inactive_file"]
            taken = int((folder / used).read_text()) - cached
            found.append(int((folder / limit).read_text()) - taken)
    return max(0, min(found))


def limit_memory(device: "Device", memory: float) -> None:
    """Let this process, for the rest of its life, run out of memory before the machine does.

    On a CPU only Linux can do that.

    Args:
        device: whose memory.
        memory: bytes; may be infinite.
    """
    if math.isinf(memory):
        return
    if _is_gpu(device):
        import torch

        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / whole), device)
        return
    with suppress(ImportError, OSError, KeyError, ValueError):
        import resource

        status = _numbers(STATUS)
        # What can be limited are addresses, of which far more are taken than memory is used.
        addresses = 1024 * (status["VmSize:"] - status["VmRSS:"]) + int(memory)
        resource.setrlimit(resource.RLIMIT_AS, (addresses, resource.RLIM_INFINITY))


def used_memory(device: "Device") -> int:
    """Return the bytes that this process uses now; 0 where the system does not say."""
    if _is_gpu(device):
        import torch

        return torch.cuda.memory_allocated(device)
    with suppress(OSError, KeyError):
        return 1024 * _numbers(STATUS)["VmRSS:"]
    return 0


def peak_memory(device: "Device") -> int:
    """Return the most bytes that this process has used; 0 where the system does not say.

    That is since `reset_peak`, on a GPU and on Linux.
    """
    if _is_gpu(device):
        import torch

        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, KeyError):
        return 1024 * _numbers(STATUS)["VmHWM:"]
    with suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on a Mac
    return 0


def give_back(device: "Device") -> None:
    """Give memory that is kept for later use back to the system, as far as it takes it."""
    gc.collect()
    if _is_gpu(device):
        import torch

        torch.cuda.empty_cache()
        return
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak(device: "Device") -> bool:
    """Let `peak_memory` tell of what comes after this. Returns whether the system can."""
    give_back(device)
    if _is_gpu(device):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return True
    with suppress(OSError):
        CLEAR.write_text(RESET_PEAK)
        return True
    return False


def _is_gpu(device: "Device") -> bool:
    return str(device).startswith("cuda")


def _cgroups() -> Iterator[tuple[Path, str, str]]:
    """Yield the folders that may limit this process, with their files of the limit and the use."""
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers in CGROUPS:
            root, limit, used = CGROUPS[controllers]
            yield root, limit, used  # what a container sees of its own group
            yield root / group.lstrip("/"), limit, used


def _numbers(file: Path) -> dict[str, int]:
    """Read the lines that are a name and a number."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
