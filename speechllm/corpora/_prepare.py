"""Functions shared by the corpora for preparing sets."""

import difflib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from speechllm.data.audio.durations import measure_durations
from speechllm.data.files import files_below
from speechllm.data.kaldi.data_dir import Utterance, write_data_dir
from speechllm.data.kaldi.dropped import kind, none_left, tell_dropped
from speechllm.data.kaldi.target import check_target
from speechllm.errors import ConfigError, DataError

__all__ = ["check_request", "files_below", "index_audio", "write_set"]


def check_request(corpus: ModuleType, root: str, sets: Sequence[str]) -> Path:
    """Check the root of a corpus, as given by the shell, and the names of sets.

    Returns:
        The root as an absolute path.

    Raises:
        DataError: if the root is empty.
        ConfigError: if the corpus has no such set.
    """
    if not root.strip():
        name = corpus.__name__.rpartition(".")[2]
        raise DataError(
            f"the root of the corpus is empty; give the folder of {name}, or the folder to download it to: "
            f"{corpus.VARIABLE}=/path/to/corpus"
        )
    for name in sets:
        if not corpus.has_set(Path(root), name):
            close = difflib.get_close_matches(name, corpus.SETS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"unknown set {name!r}, expected one of {', '.join(corpus.SETS)}{hint}")
    return Path(root).absolute()


def write_set(
    target: Path,
    audio: Mapping[str, Path],
    texts: Mapping[str, str],
    speaker_of: Callable[[str], str],
    dropped: Mapping[str, str],
    fingerprint: str,
) -> None:
    """Match audio and transcripts by utterance id, measure the audio, and write a data directory.

    Unusable utterances are counted on stderr and listed in the file ``dropped`` of the directory.

    Args:
        target: data directory.
        audio: audio files by utterance id.
        texts: transcripts, maybe empty, by utterance id.
        speaker_of: function that returns the speaker of an utterance id.
        dropped: reasons, ``kind`` or ``kind: detail``, of utterances to leave out, by utterance id.
        fingerprint: see ``data_dir.is_made``.

    Raises:
        DataError: if no utterance is usable, or files that no verb wrote would be lost.
    """
    check_target(target)
    dropped = dict(dropped)
    for utt in sorted((audio.keys() | texts.keys()) - dropped.keys()):
        if utt not in audio:
            dropped[utt] = "transcript without audio"
        elif utt not in texts:
            dropped[utt] = f"audio without transcript: {audio[utt]}"
        elif not texts[utt]:
            dropped[utt] = "empty transcript"
    paths = {utt: audio[utt] for utt in sorted(audio.keys() - dropped.keys())}
    durations, broken = measure_durations(paths, target.name)
    dropped |= {utt: f"unusable audio: {reason}" for utt, reason in broken.items()}
    kinds = Counter(map(kind, dropped.values()))
    if not durations:
        raise none_left(target, kinds, itertools.islice(dropped.items(), 1))
    utts = (
        Utterance(utt_id=utt, speaker=speaker_of(utt), path=paths[utt], duration=duration, text=texts[utt])
        for utt, duration in durations.items()
    )
    write_data_dir(target, utts, dropped, fingerprint)
    tell_dropped(target, kinds)


def index_audio(files: Iterable[Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Index files by their names without suffix, the utterance ids.

    Returns:
        The files by id, and the reasons to drop ids with two files.
    """
    audio: dict[str, Path] = {}
    dropped = {}
    for file in files:
        if audio.setdefault(file.stem, file) != file:
            dropped[file.stem] = f"two audio files: {audio[file.stem]} and {file}"
    return audio, dropped
