"""Contexts of utterances: texts for the prompt, such as lists of hot words with commas between.

Hot words are single words that are rare in the training transcripts. In training they are drawn anew in each epoch:
rare words of the transcript and distractors, rare words of other transcripts, after Le et al. (2021, arXiv 2104.02194).
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from speechllm.data.config import HotWordOptions, TranscriptCase
from speechllm.errors import DataError

SEPARATOR = ", "


def context_case(context: str, transcript: TranscriptCase) -> str:
    """Return a context in the case of the transcripts, for words in it to equal words of transcripts."""
    return context if transcript == "as_is" else context.lower()


def join_contexts(contexts: Iterable[str]) -> str:
    """Return the contexts of concatenated utterances as one, each once, with commas between."""
    return SEPARATOR.join(dict.fromkeys(context for context in contexts if context))


class HotWords:
    """Lists of hot words, drawn by seed, utterance and epoch alone.

    Args:
        texts: training transcripts.
        options: numbers and rates.
        seed: of the draws.

    Raises:
        DataError: if the transcripts have no rare word.
    """

    def __init__(self, texts: Iterable[str], options: HotWordOptions, seed: int) -> None:
        self.options, self._seed = options, seed
        counts = Counter(word for text in texts for word in text.lower().split())
        common = {word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: options.common]}
        self._common = common
        self.rare = sorted(counts.keys() - common)
        """Distractors, in the order of the alphabet and in lower case."""
        if not self.rare:
            raise DataError(
                f"hot words: found no word beyond the {options.common} most frequent of {len(counts)} in the training "
                "transcripts, expected at least one; lower the number of common words"
            )

    def draw(self, utt_id: str, text: str, epoch: int) -> str:
        """Return the context of a training utterance, empty at the configured rate."""
        rng = random.Random(f"{self._seed} {utt_id} {epoch}")
        if rng.random() < self.options.drop:
            return ""
        return self._listed(text, rng.randint(0, self.options.distractors), rng)

    def biasing_list(self, utt_id: str, text: str) -> str:
        """Return all rare words of a text and the configured number of distractors, the same in each call."""
        return self._listed(text, self.options.distractors, random.Random(f"{self._seed} {utt_id}"))

    def _listed(self, text: str, number: int, rng: random.Random) -> str:
        """Return the rare words of ``text`` and ``number`` others in random order, in the case of the text."""
        words = text.split()
        own = {word.lower(): word for word in words if word.lower() not in self._common}
        others = [word for word in self._sample(number + len(own), rng) if word not in own][:number]
        is_upper = text.isupper()
        found = [*own.values(), *(word.upper() if is_upper else word for word in others)]
        rng.shuffle(found)
        return SEPARATOR.join(found)

    def _sample(self, number: int, rng: random.Random) -> Sequence[str]:
        return rng.sample(self.rare, min(number, len(self.rare)))
