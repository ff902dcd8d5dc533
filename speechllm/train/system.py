"""Memory and utilisation of the machine, for the loggers."""

import psutil
import torch

GIB = 2**30


class SystemMetrics:
    """Measures CPU and GPU between two log lines.

    Keys:

        cpu_percent          mean utilisation of all cores since the last time
        process_memory_gib   resident memory of this process
        memory_percent       memory of the machine in use
        gpu_memory_gib       memory of this process' GPU in use, by all processes
        gpu_percent          utilisation of this process' GPU at the moment; only with the package nvidia-ml-py
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        psutil.cpu_percent()

    def take(self) -> dict[str, float]:
        """Return the values."""
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
