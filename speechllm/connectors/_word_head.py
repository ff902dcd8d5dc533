"""CTC head of frozen embeddings, with separate classes for the first and the further tokens of words."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class WordHead(nn.Module):
    """Logits of a blank, of tokens that begin a word, and of further tokens, which have frozen embeddings.

    Args:
        begins: whether each token (V) begins a word.
        tokens_VH: embeddings of the tokens.
        blank_H: initial embedding of the blank.
    """

    tokens_VH: Tensor
    first_W: Tensor
    """Token of each class of first tokens; -1 for the blank."""
    further_F: Tensor
    """Token of each class of further tokens; -1 for the end of the word."""

    def __init__(self, begins: list[bool], tokens_VH: Tensor, blank_H: Tensor) -> None:
        super().__init__()
        self.classes = [0] * len(begins)
        """Class of each token among the first tokens or the further ones; class 0 is the blank or the word's end."""
        for first, name in ((True, "first_W"), (False, "further_F")):
            tokens = [token for token, one in enumerate(begins) if one == first]
            for place, token in enumerate(tokens, 1):
                self.classes[token] = place
            self.register_buffer(name, torch.tensor([-1, *tokens], device=tokens_VH.device), persistent=False)
        self.register_buffer("tokens_VH", tokens_VH.detach(), persistent=False)
        self.blank_1H = nn.Parameter(blank_H.detach().clone()[None])
        self.bias_C = nn.Parameter(tokens_VH.new_zeros(1 + len(tokens_VH)))
        self.log_scale_1 = nn.Parameter(torch.zeros(1, device=tokens_VH.device, dtype=tokens_VH.dtype))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of the blank (class 0) and the tokens that begin a word."""
        matrix_WH = torch.cat([self.blank_1H, self.tokens_VH[self.first_W[1:]]])
        return linear(hidden * self.log_scale_1.exp(), matrix_WH, self.bias_C[1 + self.first_W])

    def further(self, hidden_RH: Tensor) -> Tensor:
        """Return the logits of a word's end (class 0), the sum of all tokens that begin a word, and further tokens."""
        logits_RV = linear(hidden_RH * self.log_scale_1.exp(), self.tokens_VH, self.bias_C[1:]).float()
        end_R1 = logits_RV[:, self.first_W[1:]].logsumexp(1, keepdim=True)
        return torch.cat([end_R1, logits_RV[:, self.further_F[1:]]], 1)

    def embeddings(self, tokens_R: Tensor) -> Tensor:
        """Return the embeddings (R, H) of tokens."""
        return self.tokens_VH[tokens_R]
