"""Download of archives: resumable, verified by checksum, and unpacked atomically."""

import http.client
import os
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from tqdm import tqdm

from speechllm.data.files import md5_of
from speechllm.errors import DataError

OPENSLR_URL = "https://www.openslr.org/resources"
"""Address of OpenSLR's resources; the shell variable of the same name overrides it, e.g. with a mirror."""

_BLOCK = 1 << 20  # bytes
_TIMEOUT = 60.0  # seconds
_TRIES = 5  # successive attempts without data
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses of temporary errors


def download_openslr(resource: int, name: str, root: Path, base_url: str | None = None) -> Path:
    """Fetch the archive ``name`` of an OpenSLR resource to ``root``, and verify it with the resource's md5sum.txt.

    Raises:
        DataError: as ``fetch``, or if no checksum is published for this archive.
    """
    base = (base_url or os.environ.get("OPENSLR_URL") or OPENSLR_URL).rstrip("/")
    published = published_md5(f"{base}/{resource}/md5sum.txt")
    if name not in published:
        raise DataError(f"{base}/{resource}/md5sum.txt: found checksums of {', '.join(published)}, expected {name}")
    fetch(f"{base}/{resource}/{name}", root / name, published[name])
    return root / name


def published_md5(url: str) -> dict[str, str]:
    """Fetch a list in the format of md5sum; return the checksums by file name.

    Raises:
        DataError: as ``fetch``.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "md5sum.txt"
        fetch(url, file)
        lines = (line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
        return {Path(words[1].lstrip("*")).name: words[0].lower() for words in lines if len(words) == 2}


def fetch(url: str, target: Path, md5: str | None = None, pause: float = 1.0) -> None:
    """Fetch a file, resuming from ``<target>.part`` of an interrupted attempt.

    Args:
        url: address of the file.
        target: path to write; nothing is done if it exists with this checksum.
        md5: expected checksum; None: no verification.
        pause: seconds before resuming after an interruption; doubled after each attempt without data.

    Raises:
        DataError: if the server does not have the file, the connection fails repeatedly, or the checksum differs;
            then the file is deleted.
    """
    if target.exists() and (md5 is None or md5_of(target) == md5):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    failures, size = 0, _size(part)
    while lost := _fetch_rest(url, part):
        failures = failures + 1 if _size(part) <= size else 0
        size = _size(part)
        if failures == _TRIES:
            raise DataError(f"{url}: {lost}, {size} bytes are in {part}; run the same command again to resume")
        time.sleep(pause * 2**failures)
    found = md5_of(part) if md5 else None
    if found != md5:
        part.unlink()
        raise DataError(
            f"{url}: found the MD5 checksum {found}, expected {md5}; the file was deleted, run the same command again"
        )
    part.replace(target)


def unpack(archive: Path, folder: str, target: Path) -> None:
    """Unpack ``folder`` of a tar archive to ``target`` atomically, and its siblings to the parent of ``target``.

    Existing siblings are kept.

    Raises:
        DataError: if the archive is damaged, has members outside of it, or lacks the folder.
    """
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tqdm(tar, f"unpacking {archive.name}", unit=" files", leave=False):
                inside = (temporary / member.name).resolve().is_relative_to(temporary.resolve())
                if not inside or not (member.isfile() or member.isdir()):
                    raise tarfile.ExtractError(
                        f"{member.name} is outside of the archive, or not a plain file or folder"
                    )
                tar.extract(member, temporary, set_attrs=False)
        if not (temporary / folder).is_dir():
            raise DataError(
                f"{archive}: found no folder {folder} in the archive; delete the archive and run the same command again"
            )
        for file in (temporary / folder).parent.iterdir():
            if file.is_file() and not (target.parent / file.name).exists():
                file.rename(target.parent / file.name)
        (temporary / folder).rename(target)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); delete it and run the same command again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fetch_rest(url: str, part: Path) -> str | None:
    """Append the missing bytes to ``part`` until the connection ends; return the reason of an interruption."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            return _receive(response, part, have)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # no more bytes: ``part`` is complete, or of another file
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return None
            part.unlink()
            return "the partial file did not match"
        if error.code in _TRY_AGAIN:
            return f"the server replied {error.code} {error.reason}"
        raise DataError(f"{url}: the server replied {error.code} {error.reason}; check the address") from error
    except (OSError, http.client.HTTPException) as error:
        if part.exists() and shutil.disk_usage(part.parent).free < _BLOCK:
            raise DataError(f"{part}: the disk is full; free space and run the same command again") from error
        return f"connection lost ({getattr(error, 'reason', error)})"


def _receive(response: http.client.HTTPResponse, part: Path, have: int) -> str | None:
    """Write the body of a response; return the reason of an interruption."""
    resumed = response.status == 206
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink()
        return "the server sent another part than requested"
    if not resumed:
        have = 0  # the server ignores ranges and sends the whole file
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    name = part.name.removesuffix(".part")
    with (
        tqdm(None, name, total, initial=have, unit="B", unit_scale=True, leave=False, file=sys.stderr) as bar,
        part.open("ab" if resumed else "wb") as file,
    ):
        while block := response.read(_BLOCK):
            bar.update(file.write(block))
    if total is not None and _size(part) < total:
        return f"connection lost ({_size(part)} of {total} bytes received)"
    return None


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
