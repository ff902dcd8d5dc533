"""Choice of the hot words of a context by CTC.

With a long list of hot words, the LLM writes words that are not spoken. CTC selects the hot words that the posteriors
support. Yang et al. (2024, arXiv 2411.06437) compare hot words with the text of a CTC hypothesis; here the best path of
a hot word is searched for in the posteriors. The distance of a hot word is the log-posterior of the best labels minus
that of its best path, both summed over the states of this path in any part of the utterance, and divided by the number
of its units. It is 0 if the best labels are the word's units.
"""

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechllm.interfaces import Posteriors, SubwordUnits


def split_hot_words(context: str) -> list[str]:
    """Return the hot words of a context, which are separated by commas."""
    return [word.strip() for word in context.split(",") if word.strip()]


def choose_hot_words(contexts: list[str], posteriors: Posteriors, largest: float) -> list[str]:
    """Remove the hot words with a distance above ``largest`` from contexts.

    Args:
        contexts: hot words of each utterance, separated by commas.
        posteriors: posteriors of the utterances.
        largest: largest distance of a hot word that is kept (nats per unit).
    """
    chosen = []
    lens = posteriors.stacked_lens_B.tolist()
    for context, log_probs_MC, length in zip(contexts, posteriors.log_probs_BMC, lens, strict=True):
        words = split_hot_words(context)
        distances = hot_word_distances(words, log_probs_MC[:length], posteriors.subwords)
        chosen.append(", ".join(word for word, one in zip(words, distances, strict=True) if one <= largest))
    return chosen


def hot_word_distances(words: list[str], log_probs_MC: Tensor, subwords: SubwordUnits) -> list[float]:
    """Return the distance of each word or phrase (nats per unit); infinite without units, or with too many.

    Args:
        words: hot words.
        log_probs_MC: log-probabilities of the blank (class 0) and units in the valid stacked states.
        subwords: subword units of the classes.
    """
    units = [subwords(word) for word in words]
    if not any(units):
        return [math.inf] * len(words)
    paths = [[0] * max(0, 2 * len(one) - 1) for one in units]  # labels, with blanks between them
    for path, one in zip(paths, units, strict=True):
        path[::2] = [unit + 1 for unit in one]
    labels_WP = pad_sequence([torch.tensor(path, dtype=torch.long) for path in paths], batch_first=True)
    labels_U, places_WP = labels_WP.unique(return_inverse=True)
    costs_MU = log_probs_MC.amax(-1, keepdim=True) - log_probs_MC[:, labels_U.to(log_probs_MC.device)]
    last_W1 = torch.tensor([[max(0, len(path) - 1)] for path in paths])
    labelled = labels_WP[:, 2:] != 0
    skips_WP = labelled & (labels_WP[:, 2:] != labels_WP[:, :-2])  # no blank needed between different labels
    best_WP = torch.full(labels_WP.shape, math.inf)
    found_W = torch.full((len(words),), math.inf)
    for costs_U in costs_MU.float().cpu():
        reached_WP = best_WP.clone()
        reached_WP[:, 0] = 0  # a path begins in any state
        reached_WP[:, 1:] = reached_WP[:, 1:].minimum(best_WP[:, :-1])
        reached_WP[:, 2:] = reached_WP[:, 2:].minimum(best_WP[:, :-2].masked_fill(~skips_WP, math.inf))
        best_WP = reached_WP + costs_U[places_WP]
        found_W = found_W.minimum(best_WP.gather(1, last_W1)[:, 0])
    return [cost / len(one) if one else math.inf for cost, one in zip(found_W.tolist(), units, strict=True)]
