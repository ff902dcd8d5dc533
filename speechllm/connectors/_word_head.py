"""CTC head of frozen embeddings, with separate classes for the first and the further units of words."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

IMPOSSIBLE = -1e4
"""Log-probability of a unit that a position cannot name: finite, so that differences are, too."""


class WordHead(nn.Module):
    """Logits of a blank, of units that begin a word, and of further units, which have frozen embeddings.

    Args:
        texts: texts of the units (U); that of a unit that begins a word begins with a space.
        units_UH: embeddings of the units.
        blank_H: initial embedding of the blank.
    """

    units_UH: Tensor
    first_units_W: Tensor
    further_units_F: Tensor

    def __init__(self, texts: list[str], units_UH: Tensor, blank_H: Tensor) -> None:
        super().__init__()
        self.begins = [text.startswith(" ") for text in texts]
        """Whether each unit begins a word."""
        self.places = [0] * len(texts)
        """Class of each unit among the first units or the further ones; class 0 is the blank or the word's end."""
        for begins, name in ((True, "first_units_W"), (False, "further_units_F")):
            units = [unit for unit, one in enumerate(self.begins) if one == begins]
            for place, unit in enumerate(units, 1):
                self.places[unit] = place
            self.register_buffer(name, torch.tensor([-1, *units], device=units_UH.device), persistent=False)
        self.register_buffer("units_UH", units_UH.detach(), persistent=False)
        self.blank_1H = nn.Parameter(blank_H.detach().clone()[None])
        self.bias_C = nn.Parameter(units_UH.new_zeros(1 + len(units_UH)))
        self.log_scale_1 = nn.Parameter(torch.zeros(1, device=units_UH.device, dtype=units_UH.dtype))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of the blank (class 0) and the units that begin a word."""
        matrix_WH = torch.cat([self.blank_1H, self.units_UH[self.first_units_W[1:]]])
        return linear(hidden * self.log_scale_1.exp(), matrix_WH, self.bias_C[1 + self.first_units_W])

    def further(self, hidden_RH: Tensor) -> Tensor:
        """Return the logits of a word's end (class 0), the sum of all units that begin a word, and of further units."""
        logits_RU = linear(hidden_RH * self.log_scale_1.exp(), self.units_UH, self.bias_C[1:]).float()
        end_R1 = logits_RU[:, self.first_units_W[1:]].logsumexp(1, keepdim=True)
        return torch.cat([end_R1, logits_RU[:, self.further_units_F[1:]]], 1)

    def embeddings(self, units_R: Tensor) -> Tensor:
        """Return the embeddings (R, H) of units."""
        return self.units_UH[units_R]

    def all_classes(self, log_probs: Tensor, *, first: bool) -> Tensor:
        """Return log-probabilities (R, C) of the blank and all units; those without a class are ``IMPOSSIBLE``."""
        units = self.first_units_W if first else self.further_units_F
        whole_RC = log_probs.new_full((len(log_probs), 1 + len(self.units_UH)), IMPOSSIBLE)
        return whole_RC.index_copy(1, 1 + units, log_probs)
