"""A toy experiment of noise and words, small enough to be trained in seconds."""

import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from forked import Forked, speechllm

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
    """An experiment's YAML and dumps, and its training."""

    folder: Path
    config: Path
    train: Path
    valid: Path

    def command(self, exp_dir: Path, *overrides: str, processes: int = 1) -> list[str]:
        """Return the command line of the training."""
        launcher = [sys.executable, "-m"]
        if processes > 1:
            launcher += ["torch.distributed.run", "--nproc_per_node", str(processes), "--standalone", "-m"]
        return [*launcher, "speechllm", *self.arguments(exp_dir, *overrides)]

    def arguments(self, exp_dir: Path, *overrides: str) -> list[str]:
        """Return the verb ``train`` and its arguments."""
        dumps = ["--train", str(self.train), "--valid", str(self.valid)]
        settings = [f"--set={override}" for override in overrides]
        return ["train", "--config", str(self.config), *dumps, *settings, str(exp_dir)]

    def start(self, exp_dir: Path, *overrides: str, processes: int = 1, new_session: bool = False) -> Forked:
        """Start the training in forked processes."""
        arguments = self.arguments(exp_dir, *overrides)
        return Forked(speechllm, arguments, processes=processes, new_session=new_session)

    def run(self, exp_dir: Path, *overrides: str, processes: int = 1) -> "CompletedProcess[str]":
        """Train in forked processes."""
        return self.start(exp_dir, *overrides, processes=processes).wait()
