"""What went wrong is decoded again, and nothing else."""

import pytest

from speechllm.decode.config import DecodeConfig
from speechllm.decode.fallback import has_failed, with_fallback
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions, Hypothesis

GREEDY, STRICT = GenerationOptions(), GenerationOptions(no_repeat_ngram=3)


def hypothesis(text: str, *, truncated: bool = False) -> Hypothesis:
    return Hypothesis(text=text, score=0.0, num_tokens=len(text.split()), truncated=truncated)


FIRST = {
    "good": hypothesis("it is very very good"),
    "loop": hypothesis("and so on and so on and so on and so on"),
    "cut": hypothesis("never ending", truncated=True),
}


def search(utt_ids: list[str], options: GenerationOptions) -> list[list[Hypothesis]]:
    if options == GREEDY:
        return [[FIRST[utt_id]] for utt_id in utt_ids]
    assert options == STRICT
    assert set(utt_ids) <= {"loop", "cut"}
    return [[hypothesis(f"{utt_id} again")] for utt_id in utt_ids]


def test_failures_are_those_that_loop_or_reach_the_cap() -> None:
    assert [utt_id for utt_id, one in FIRST.items() if has_failed(one)] == ["loop", "cut"]


@pytest.mark.parametrize("order", [["good", "loop", "cut"], ["cut", "good"], ["good"]])
def test_only_failures_are_decoded_again_whatever_the_batch(order: list[str]) -> None:
    found = dict(zip(order, with_fallback(search, GREEDY, STRICT)(order), strict=True))
    for utt_id, (best,) in found.items():
        assert best.fallback == (utt_id != "good")
        assert best.text == (FIRST["good"].text if utt_id == "good" else f"{utt_id} again")


def test_without_a_fallback_all_stay() -> None:
    assert with_fallback(search, GREEDY, None)(list(FIRST)) == [[one] for one in FIRST.values()]


def test_searches_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"search\.ctc_weight: found 1.5, expected 0 to 1"):
        DecodeConfig(search=GenerationOptions(ctc_weight=1.5))
    with pytest.raises(ConfigError, match=r"search\.ctc_candidates: found 20, expected at least twice num_beams, 12"):
        DecodeConfig(search=GenerationOptions(ctc_weight=0.5, num_beams=12))
    assert DecodeConfig(search=GenerationOptions(num_beams=12)).search.num_beams == 12
    with pytest.raises(ConfigError, match=r"fallback\.nbest: found 3, expected 1 to num_beams, 1"):
        DecodeConfig(fallback=GenerationOptions(nbest=3))
