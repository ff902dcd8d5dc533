"""Memory and utilisation of the machine for the loggers."""

import psutil
import torch

GIB = 2**30


class SystemMetrics:
    """Measurements of CPU and GPU for a log line.

    Keys:

        cpu_percent          mean utilisation of all cores since the last call
        process_memory_gib   resident memory of this process
        memory_percent       used memory of the machine
        gpu_memory_gib       used memory of this process' GPU, by all processes
        gpu_percent          current utilisation of this process' GPU; only with the package nvidia-ml-py
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        psutil.cpu_percent()

    def take(self) -> dict[str, float]:
        """Return the measured values by key."""
        values = {
            "cpu_percent": psutil.cpu_percent(),
            "process_memory_gib": self._process.memory_info().rss / GIB,
            "memory_percent": psutil.virtual_memory().percent,
        }
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            values["gpu_memory_gib"] = (total - free) / GIB
            try:
                values["gpu_percent"] = float(torch.cuda.utilization())
            except (ModuleNotFoundError, RuntimeError):
                pass
        return values
