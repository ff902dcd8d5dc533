"""Contexts of utterances: texts for the prompt, such as comma-separated lists of hot words.

Hot words are single words that are rare in the training transcripts. Training draws them in each epoch: rare words of
the transcript, and rare words of other transcripts as distractors, after Le et al. (2021, arXiv 2104.02194).
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from speechllm.data.config import HotWordOptions, TranscriptCase
from speechllm.errors import DataError

SEPARATOR = ", "


def context_case(context: str, transcript: TranscriptCase) -> str:
    """Return a context in the case of the transcripts, so that its words can match theirs."""
    return context if transcript == "as_is" else context.lower()


def join_contexts(contexts: Iterable[str]) -> str:
    """Return the distinct contexts of concatenated utterances, separated by commas."""
    return SEPARATOR.join(dict.fromkeys(context for context in contexts if context))


class HotWords:
    """Lists of hot words, determined by seed, utterance and epoch.

    Args:
        texts: training transcripts.
        options: number of hot words and rate of empty contexts.
        seed: random seed.

    Raises:
        DataError: if the transcripts have no rare word.
    """

    def __init__(self, texts: Iterable[str], options: HotWordOptions, seed: int) -> None:
        self.options, self._seed = options, seed
        counts = Counter(word for text in texts for word in text.lower().split())
        common = {word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: options.common]}
        self._common = common
        self.rare = sorted(counts.keys() - common)
        """Distractors in alphabetical order and lower case."""
        if not self.rare:
            raise DataError(
                f"hot words: found only {len(counts)} words in the training transcripts, expected more than the "
                f"{options.common} that are excluded as common; lower the number of common words"
            )

    def draw(self, utt_id: str, text: str, epoch: int) -> str:
        """Return the context of a training utterance; it is empty at the configured rate."""
        rng = random.Random(f"{self._seed} {utt_id} {epoch}")
        if rng.random() < self.options.drop:
            return ""
        return self._listed(text, rng.randint(0, self.options.distractors), rng)

    def biasing_list(self, utt_id: str, text: str) -> str:
        """Return all rare words of a text and the configured number of distractors, the same in each call."""
        return self._listed(text, self.options.distractors, random.Random(f"{self._seed} {utt_id}"))

    def _listed(self, text: str, number: int, rng: random.Random) -> str:
        """Return the rare words of ``text`` and ``number`` distractors in random order, in the case of ``text``."""
        words = text.split()
        own = {word.lower(): word for word in words if word.lower() not in self._common}
        others = [word for word in self._sample(number + len(own), rng) if word not in own][:number]
        is_upper = text.isupper()
        found = [*own.values(), *(word.upper() if is_upper else word for word in others)]
        rng.shuffle(found)
        return SEPARATOR.join(found)

    def _sample(self, number: int, rng: random.Random) -> Sequence[str]:
        return rng.sample(self.rare, min(number, len(self.rare)))
