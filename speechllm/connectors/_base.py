"""Base class of the connectors."""

from torch import nn

from speechllm.interfaces import Decoder, SubwordUnits


class BaseConnector(nn.Module):
    """Connector without a CTC head and without parts of the LLM."""

    subwords: SubwordUnits | None = None
    ctc_weight = 0.0
    exact_lengths = False

    def bind(self, decoder: Decoder) -> None:
        """Ignore the LLM."""
