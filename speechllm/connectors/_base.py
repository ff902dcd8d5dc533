"""Base class of the connectors."""

from torch import Tensor, nn

from speechllm.interfaces import ConnectorOutput, Decoder, Encoder, SubwordUnits


class BaseConnector(nn.Module):
    """Connector without a CTC head and without parts of encoder and LLM."""

    subwords: SubwordUnits | None = None
    ctc_weight = 0.0
    exact_lengths = False
    rescores = False

    @property
    def base_model(self) -> nn.Module | None:
        """None: there is no base model."""
        return None

    def bind_encoder(self, encoder: Encoder) -> None:
        """Ignore the encoder."""

    def merge_adapters(self) -> None:
        """Do nothing: there are no adapters."""

    def bind(self, decoder: Decoder) -> None:
        """Ignore the LLM."""

    def ctc_loss(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]) -> Tensor:
        """Raise NotImplementedError: there is no CTC head."""
        raise NotImplementedError

    def log_probs(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[list[str]]) -> list[list[float] | None]:
        """Raise NotImplementedError: there is no second pass."""
        raise NotImplementedError

    def with_ctc_loss(
        self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]
    ) -> tuple[ConnectorOutput, Tensor]:
        """Raise NotImplementedError: there is no CTC head."""
        raise NotImplementedError
