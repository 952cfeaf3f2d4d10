"""Peak memory of a piece of work."""

from pathlib import Path

__all__ = ["PeakMemory"]

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Context manager; `mib` is the largest resident set of the process inside, in MiB.

    Linux forgets the peak when asked to; elsewhere the peak of the process so far is given.
    """

    def __enter__(self) -> "PeakMemory":
        if _RESET.exists():
            _RESET.write_text("5", encoding="ascii")
        self.mib = float("nan")
        return self

    def __exit__(self, *exception: object) -> None:
        self.mib = _peak_mib()


def _peak_mib() -> float:
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
