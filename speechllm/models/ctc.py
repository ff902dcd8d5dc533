"""CTC of the speech tokens against the LLM's own embedding table: alignment before the LLM is in the loop.

A connector that starts from nothing has to learn from the LLM's loss alone which speech token says
what, and stays on a plateau for thousands of steps. Here its outputs are read as noisy embeddings of
text tokens, and connectionist temporal classification (Graves et al., 2006) teaches it to write the
transcript into them. That needs no pass through the LLM, and leaves the LLM little but to copy.
A connector that spells (``interfaces.Speller``) has a CTC loss of its own instead. Neither is in the paper.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss
from torch.nn.utils.rnn import pad_sequence

from speechllm.errors import DataError
from speechllm.interfaces import Decoder


class EmbeddingCTC(nn.Module):
    """The CTC loss of speech tokens, over the text tokens that occur.

    The logit of a text token is minus the squared distance of the speech token to its embedding,
    over twice the squared temperature: what a Gaussian around each embedding gives. That alone would
    drive speech tokens far beyond the embeddings, to where the LLM has never been; so their distance
    to the embedding that they are expected to be is added to the loss. The blank is the space, which
    LLMs read over.

    With wider Gaussians and a weaker pull, a Q-Former leaves the plateau on which it says nothing but
    blanks and the commonest tokens; but its speech tokens then lie far out. So both may change on the way.

    Args:
        decoder: the LLM whose tokens they are.
        texts: transcripts; only tokens that occur in them can be told apart, others are left out of what is read.
        temperature: width of the Gaussians, in units of the table's standard deviation, first and last.
        pull: weight of the distances, first and last.

    Raises:
        DataError: if the transcripts have no token.
    """

    ids_V: Tensor
    """The blank and the text tokens."""

    def __init__(
        self,
        decoder: Decoder,
        texts: Iterable[str],
        *,
        temperature: Sequence[float] = (0.25, 0.25),
        pull: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self._temperature, self._pull = temperature, pull
        self.anneal(0.0)
        blank = decoder.tokenize(" ", end=True)[-2:][0]  # the end of sequence if there is no token of a space
        ids = sorted({one for text in texts for one in decoder.tokenize(text)} - {blank})
        if not ids:
            raise DataError("train.ctc_steps: the training transcripts have no token, expected some to align with")
        self.register_buffer("ids_V", torch.tensor([blank, *ids]), persistent=False)

    def anneal(self, progress: float) -> None:
        """Go to where temperature and pull are after this share, 0 to 1, of the steps; they change geometrically."""
        self.temperature, self.pull = (
            first ** (1 - progress) * last**progress for first, last in (self._temperature, self._pull)
        )

    def forward(self, speech_BSE: Tensor, lens_B: Tensor, texts: list[list[int]], decoder: Decoder) -> Tensor:
        """Return the summed loss of the token sequences ``texts``.

        An utterance with fewer speech tokens than CTC needs for its text adds nothing.
        """
        table_VE = decoder.embed(self.ids_V)
        variance = table_VE.float().var(0, correction=0).sum()
        squares_V = table_VE.float().pow(2).sum(-1)
        logits_BSV = ((speech_BSE @ table_VE.T).float() - squares_V / 2) / (variance * self.temperature**2)
        log_probs_BSV = logits_BSV.log_softmax(-1)
        labels = [self._labels(ids).to(lens_B.device) for ids in texts]
        labels_BU = pad_sequence(labels, batch_first=True)
        text_lens_B = torch.tensor([len(labels_U) for labels_U in labels], device=lens_B.device)
        aligned = ctc_loss(
            log_probs_BSV.transpose(0, 1), labels_BU, lens_B, text_lens_B, reduction="sum", zero_infinity=True
        )
        repeats = [int((labels_U[1:] == labels_U[:-1]).sum()) for labels_U in labels]  # a blank must stand between two
        fits_B = lens_B >= text_lens_B + torch.tensor(repeats, device=lens_B.device)
        expected_BSE = log_probs_BSV.detach().exp().to(table_VE.dtype) @ table_VE
        valid_BS = torch.arange(speech_BSE.shape[1], device=lens_B.device) < lens_B[:, None]
        distances_BS = (speech_BSE - expected_BSE).float().pow(2).sum(-1) / (2 * variance)
        return aligned + self.pull * (distances_BS * (valid_BS & fits_B[:, None])).sum()

    def _labels(self, ids: list[int]) -> Tensor:
        """Return the places of those token ids that can be told apart."""
        ids_U = torch.tensor(ids, dtype=torch.long, device=self.ids_V.device)
        ids_U = ids_U[torch.isin(ids_U, self.ids_V[1:])]
        return torch.searchsorted(self.ids_V[1:], ids_U) + 1


class ConnectorCTC(nn.Module):
    """Says that a step is to learn by the CTC loss of the connector itself."""

    def anneal(self, progress: float) -> None:
        """Change nothing on the way."""


CTC: TypeAlias = EmbeddingCTC | ConnectorCTC
