"""CTC pre-training of connectors without a CTC head, and the confidence of posteriors.

For CTC pre-training of a connector without a CTC head (Graves et al., 2006), ``EmbeddingMatrixHead`` computes
posteriors of speech tokens over the LLM's embedding matrix. From random weights, the LLM's loss of a connector stays on
a plateau for thousands of steps; CTC pre-training, which needs no pass through the LLM, ends that plateau. Both are not
in the paper.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from speechllm.ctc import ctc_loss
from speechllm.errors import DataError
from speechllm.interfaces import ConnectorOutput, Decoder, Posteriors, SubwordUnits
from speechllm.lengths import length_mask
from speechllm.transfer import to_device

KERNEL_WIDTH = 0.25
"""Standard deviation of the Gaussian around each embedding, in units of the embedding matrix's standard deviation."""
REGULARISER_WEIGHT = 1.0
"""Weight of the distance between a speech token and its expected embedding."""


def count_units(subwords: SubwordUnits, texts: list[str]) -> int:
    """Return the number of subword units in transcripts, at least one per transcript."""
    return sum(max(1, len(subwords(text))) for text in texts)


class EmbeddingMatrixHead(nn.Module):
    """CTC head without parameters: posteriors of speech tokens over the rows of the LLM's embedding matrix.

    The logit of a token is minus the squared distance between the speech token and the token's embedding, divided by
    twice the squared kernel width: the log-density of a Gaussian around each embedding. The loss of these logits alone
    has its minimum far from the embeddings, outside the LLM's input distribution; the regulariser adds the distance
    between each speech token and its expected embedding. The blank is the token of a space.

    Args:
        decoder: the LLM.
        texts: training transcripts; the classes are their tokens, and labels contain no other tokens.

    Raises:
        DataError: if the transcripts contain no token.
    """

    ids_V: Tensor
    """Token ids of the blank and of the classes."""

    def __init__(self, decoder: Decoder, texts: Iterable[str]) -> None:
        super().__init__()
        blank = decoder.tokenize(" ", end=True)[-2:][0]  # the end of sequence if a space has no token
        ids = sorted({one for text in texts for one in decoder.tokenize(text)} - {blank})
        if not ids:
            raise DataError(
                "train.ctc_steps: found training transcripts without tokens, expected at least one token; check the "
                "training sets, or set train.ctc_steps: 0"
            )
        self.register_buffer("ids_V", torch.tensor([blank, *ids]), persistent=False)
        self._classes = {token: place for place, token in enumerate(ids, 1)}

    def forward(self, output: ConnectorOutput, texts: list[str], decoder: Decoder) -> Tensor:
        """Return the summed loss of transcripts (nats)."""
        speech_BSE, speech_lens_B = output.embeds_BSE, output.speech_lens_B
        labels = [self._labels(decoder.tokenize(text)) for text in texts]
        matrix_VE = decoder.embed(self.ids_V)
        variance = matrix_VE.float().var(0, correction=0).sum()
        squares_V = matrix_VE.float().pow(2).sum(-1)
        logits_BSV = ((speech_BSE @ matrix_VE.T).float() - squares_V / 2) / (variance * KERNEL_WIDTH**2)
        log_probs_BSV = logits_BSV.log_softmax(-1)
        repeats = [int((labels_U[1:] == labels_U[:-1]).sum()) for labels_U in labels]  # CTC needs a blank between two
        needed_B = torch.tensor([len(labels_U) for labels_U in labels]) + torch.tensor(repeats)
        fits_B = speech_lens_B >= to_device(needed_B, speech_lens_B.device)
        expected_BSE = log_probs_BSV.detach().exp().to(matrix_VE.dtype) @ matrix_VE
        distances_BS = (speech_BSE - expected_BSE).float().pow(2).sum(-1) / (2 * variance)
        valid_BS = length_mask(speech_lens_B, speech_BSE.shape[1]) & fits_B[:, None]
        regulariser = REGULARISER_WEIGHT * (distances_BS * valid_BS).sum()
        return ctc_loss(log_probs_BSV, speech_lens_B, labels) + regulariser

    def _labels(self, ids: list[int]) -> Tensor:
        """Return the classes (U,) of token ids on the CPU; tokens without a class are left out."""
        return torch.tensor([self._classes[one] for one in ids if one in self._classes], dtype=torch.long)


def confidence(posteriors: Posteriors) -> Tensor:
    """Return the mean posterior (B,) of the best label over non-blank states; 0 without non-blank states."""
    probs_BM, best_BM = posteriors.log_probs_BMC.exp().max(-1)
    non_blank_BM = (best_BM > 0) & length_mask(posteriors.stacked_lens_B, best_BM.shape[1])
    return (probs_BM * non_blank_BM).sum(1) / non_blank_BM.sum(1).clamp(min=1)
