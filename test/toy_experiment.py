"""A toy experiment of noise and words, small enough to be trained in seconds."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

YAML = """
frontend: {{type: log_mel}}
encoder: {{type: whisper, path: {whisper}, padding: none}}
connector: {{type: qformer, num_queries: 4, hidden: 64, dropout: 0.1}}
decoder: {{type: causal_lm, path: {llm}}}
prompt: {{template: "hear <speech> say"}}
data: {{batch_size: 2, num_buckets: 2}}
train: {{dtype: float32, max_steps: 8, lr: 3e-3, warmup_steps: 2, log_every: 1, valid_every: 3, keep_best: 2}}
"""


@dataclass(frozen=True)
class Toy:
    """An experiment's YAML and dumps, and the command that trains it."""

    folder: Path
    config: Path
    train: Path
    valid: Path

    def command(self, exp_dir: Path, *overrides: str, processes: int = 1) -> list[str]:
        launcher = [sys.executable, "-m"]
        if processes > 1:
            launcher += ["torch.distributed.run", "--nproc_per_node", str(processes), "--standalone", "-m"]
        dumps = ["--train", str(self.train), "--valid", str(self.valid)]
        return [
            *launcher,
            "speechllm",
            "train",
            "--config",
            str(self.config),
            *dumps,
            *(f"--set={override}" for override in overrides),
            str(exp_dir),
        ]

    def run(self, exp_dir: Path, *overrides: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(exp_dir, *overrides, processes=processes), capture_output=True, text=True, check=False
        )
