"""The device of a decoding job."""

import torch


def job_device(job: int) -> torch.device:
    """Return the device of a job: jobs take the visible GPUs in turn, or the CPU."""
    count = torch.cuda.device_count()
    return torch.device("cuda", (job - 1) % count) if count else torch.device("cpu")
