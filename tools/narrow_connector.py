"""Give a trained FC connector fewer hidden units, so that it is smaller; train it on from there.

    tools/narrow_connector.py EXP_DIR OUT_DIR --hidden 1700

The units that are kept are those with the largest product of the norms of the weights into and out of them, which is
the same however a ReLU's weights are scaled. OUT_DIR is for train.init_from of an experiment whose connector has as
many hidden units.
"""

import argparse
from pathlib import Path

from torch import Tensor

from speechllm.models.weights import read_metadata, read_weights, save_weights

WEIGHTS = "model.safetensors"
INTO, BIAS, OUT = (f"connector.layers.{name}" for name in ("0.weight", "0.bias", "2.weight"))


def narrowed(state: dict[str, Tensor], hidden: int) -> dict[str, Tensor]:
    """Return the weights of a model with only the ``hidden`` most important hidden units of its connector."""
    importance_H = state[INTO].norm(dim=1) * state[OUT].norm(dim=0)
    kept_H = importance_H.topk(hidden).indices.sort().values
    return state | {INTO: state[INTO][kept_H], BIAS: state[BIAS][kept_H], OUT: state[OUT][:, kept_H]}


def main() -> None:
    """Read, narrow and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp_dir", type=Path, help="trained experiment with an FC connector")
    parser.add_argument("out_dir", type=Path, help="where model.safetensors goes")
    parser.add_argument("--hidden", type=int, required=True, help="hidden units that are kept")
    args = parser.parse_args()
    state = read_weights(args.exp_dir / WEIGHTS)
    if INTO not in state or not 0 < args.hidden <= len(state[INTO]):
        parser.error(f"{args.exp_dir}: expected an FC connector of at least {args.hidden} hidden units")
    save_weights(args.out_dir / WEIGHTS, narrowed(state, args.hidden), read_metadata(args.exp_dir / WEIGHTS))


if __name__ == "__main__":
    main()
