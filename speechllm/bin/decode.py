"""Decode sets with a trained model, in jobs, and merge their hypotheses.

The hypotheses of a set go to EXP/decode/SET, or EXP/decode/SET_NAME with --inference_config NAME.yaml. Those of
SET_shuffled are a control: each utterance is decoded with the audio of another utterance.
"""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_set, add_trust
from speechllm.bin._renamed import add_renamed
from speechllm.bin._sets import add_dump, add_inference_config, add_jobs, add_sets, check_jobs
from speechllm.data.derive.sets import locate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_inference_config(parser)
    add_set(parser, "overrides, e.g. decode.batch_size=8; may be repeated")
    add_trust(parser)
    add_jobs(parser, without="decode all remaining jobs and merge")
    add_renamed(parser, "--mismatched", "the name of the set with the suffix _shuffled")
    add_dump(parser)
    parser.add_argument(
        "--exp", type=Path, help="directory of the hypotheses (default: the experiment, or exp/<its name>)"
    )
    parser.add_argument("model", help="experiment, packed directory, shipped model or hub id")
    add_sets(parser)


def run(args: argparse.Namespace) -> None:
    """Run one job of each set, or all jobs."""
    check_jobs(args)
    from speechllm import experiment
    from speechllm.inference.run import SetToDecode, decode
    from speechllm.pretrained.directory import read_to_decode

    path, config = read_to_decode(args.model, args.inference_config, args.set, trust_components=args.trust_components)
    exp_dir = args.exp or (path if (path / "config.yaml").is_file() else Path("exp", path.name))
    tag = args.inference_config.stem if args.inference_config else ""
    sets = [
        SetToDecode(
            source=experiment.set_dir(config, args.dump, one.name, one.data_dir),
            out_dir=one.decode_dir(exp_dir, tag),
            shuffled=one.shuffled,
        )
        for one in locate(args.sets, args.data)
    ]
    decode(path, config, sets, nj=args.nj, job=args.job)
