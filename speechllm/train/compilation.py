"""Compilation of the layers of the encoder and the LLM (PyTorch 2, Ansel et al., 2024).

Each layer is compiled alone and for all lengths, so that one graph serves all layers of a kind and all batches.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from speechllm.layers import repeated_layers
from speechllm.models.speech_llm import SpeechLLM


class Compilation:
    """Compiles layers, counts the compiled graphs, and computes a graph that cannot be compiled as it is.

    Args:
        warn: called once, with a sentence, if a graph cannot be compiled.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.graphs = 0
        """Graphs compiled so far: one for each kind of layer and mode, and for shapes that need one of their own."""
        self.seconds = 0.0
        """Time that compiling has taken."""
        self._warn: Callable[[str], None] | None = warn

    def compile_layers(self, model: SpeechLLM) -> None:
        """Compile the layers of the encoder, if there is one, and of the LLM.

        Neither names nor values of parameters change. To be called before the first step, on every rank.
        """
        torch._dynamo.config.suppress_errors = True  # code that cannot be traced is computed as it is
        torch.fx.experimental._config.use_duck_shape = False  # sizes equal by chance need no graph of their own
        parts: dict[str, nn.Module] = dict(model.named_children())
        for layer in repeated_layers(parts["encoder"]) if "encoder" in parts else []:
            layer.compile(dynamic=True, backend=self._compile_graph)
        model.decoder.compile_layers(self._compile_graph)

    def summary(self) -> str:
        """Return how much has been compiled."""
        return f"train.compile: {self.graphs} graphs compiled so far, in {self.seconds:.0f} s"

    def _compile_graph(self, graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        """Return the compiled ``graph``; the graph itself if it cannot be compiled."""
        from torch._inductor.compile_fx import compile_fx  # here, because it takes seconds

        start = time.perf_counter()
        try:
            # else a backward pass that cannot be compiled is noticed only when it is to be computed
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                compiled = compile_fx(graph, inputs)
            self.graphs += 1
            return compiled  # type: ignore[return-value]
        except torch._dynamo.exc.RestartAnalysis:  # the tracer's own control flow
            raise
        except Exception as error:  # compilers fail by errors of every class
            if self._warn is not None:
                reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
                self._warn(f"train.compile: a layer cannot be compiled, its training goes on uncompiled: {reason}")
                self._warn = None
            return graph.forward  # type: ignore[no-any-return]
        finally:
            self.seconds += time.perf_counter() - start
