"""Compilation of the layers of the encoder and the LLM (PyTorch 2, Ansel et al., 2024).

Each layer is compiled separately and for all lengths, so that all layers of a kind and all batches share one graph.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from speechllm.layers import repeated_layers
from speechllm.models.speech_llm import SpeechLLM


class Compilation:
    """Compile layers and count the compiled graphs; graphs that cannot be compiled are computed uncompiled.

    Args:
        warn: function called once with a sentence if a graph cannot be compiled.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.graphs = 0
        """Number of compiled graphs: one per kind of layer and mode, and one for each special shape."""
        self.seconds = 0.0
        """Total time of compilation (seconds)."""
        self._warn: Callable[[str], None] | None = warn

    def compile_layers(self, model: SpeechLLM) -> None:
        """Compile the layers of the encoder, if any, and of the LLM.

        Neither names nor values of parameters change. Call it before the first step, on every rank.
        """
        torch._dynamo.config.suppress_errors = True  # code that cannot be traced is computed uncompiled
        torch.fx.experimental._config.use_duck_shape = False  # no separate graphs for sizes that are equal by chance
        parts: dict[str, nn.Module] = dict(model.named_children())
        for layer in repeated_layers(parts["encoder"]) if "encoder" in parts else []:
            layer.compile(dynamic=True, backend=self._compile_graph)
        model.decoder.compile_layers(self._compile_graph)

    def summary(self) -> str:
        """Return the number of compiled graphs and the time of compilation as text."""
        return f"train.compile: {self.graphs} graphs compiled so far, in {self.seconds:.0f} s"

    def _compile_graph(self, graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        """Return the compiled ``graph``; the graph itself if it cannot be compiled."""
        from torch._inductor.compile_fx import compile_fx  # here, because it takes seconds

        start = time.perf_counter()
        try:
            # otherwise an error in compiling the backward pass is raised only when that pass is computed
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                compiled = compile_fx(graph, inputs)
            self.graphs += 1
            return compiled  # type: ignore[return-value]
        except torch._dynamo.exc.RestartAnalysis:  # the tracer's own control flow
            raise
        except Exception as error:  # compilers raise errors of every class
            if self._warn is not None:
                reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
                self._warn(f"train.compile: a layer cannot be compiled, and is trained uncompiled: {reason}")
                self._warn = None
            return graph.forward  # type: ignore[no-any-return]
        finally:
            self.seconds += time.perf_counter() - start
