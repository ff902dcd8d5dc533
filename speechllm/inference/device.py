"""The device of a decoding job."""

import torch


def job_device(job: int) -> torch.device:
    """Return the device of a job: the visible GPUs are assigned in turn; without any, the CPU."""
    count = torch.cuda.device_count()
    return torch.device("cuda", (job - 1) % count) if count else torch.device("cpu")
