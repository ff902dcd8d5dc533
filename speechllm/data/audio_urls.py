"""Where a web page finds the audio of the utterances that it shows."""

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from speechllm.data.data_dir import Utterance, read_data_dir


def audio_urls(data: Path, decoded: Iterable[str], page_dir: Path) -> dict[str, dict[str, str]]:
    """Return the address of each utterance's audio.

    Args:
        data: holds a data directory for each set.
        decoded: names of what was decoded: a set's, which more may follow after "_", such as the name of a decode
            section. What was given another utterance's speech ("mismatched") has no audio of its own.
        page_dir: directory of the page, from which the addresses are seen.

    Returns:
        Addresses by utterance, by name of what was decoded; of names that no data directory fits, there are none.
    """
    found = {}
    for name in decoded:
        sets = [
            path for path in data.iterdir() if f"{name}_".startswith(f"{path.name}_") and (path / "wav.scp").exists()
        ]
        if sets and not name.endswith("mismatched"):
            longest = max(sets, key=lambda path: len(path.name))
            found[name] = {utt.utt_id: _url(utt, page_dir) for utt in read_data_dir(longest, need_text=False).utts}
    return found


def _url(utt: Utterance, page_dir: Path) -> str:
    path = quote(Path(os.path.relpath(utt.path, page_dir)).as_posix())
    if utt.end is None and utt.start == 0:
        return path
    return f"{path}#t={utt.start:g}" + (f",{utt.end:g}" if utt.end is not None else "")
