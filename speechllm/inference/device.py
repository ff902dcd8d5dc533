"""Device of a decoding job, and its name."""

import torch


def job_device(job: int) -> torch.device:
    """Return the device of a job: the visible GPUs cyclically, or the CPU without a GPU."""
    count = torch.cuda.device_count()
    return torch.device("cuda", (job - 1) % count) if count else torch.device("cpu")


def describe_device(device: torch.device) -> str:
    """Return the name of a GPU, or the number of threads of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"
