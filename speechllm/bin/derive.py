"""Write the derived sets, such as train_sp0.9, and validate all given sets.

X_valid2 holds two speakers of X, and X_train2 the others; X_sp0.9 is X at speed 0.9; X_aug is X with the noise,
reverberation and codecs of data.augment; X_cat60 is X with neighbours concatenated up to 60 seconds; non_speech is
silence and synthetic noise; X_shuffled needs no data: it is decoded from X. All other sets must exist.
"""

from argparse import ArgumentParser, Namespace

from speechllm.bin._arguments import add_config
from speechllm.bin._sets import add_sets
from speechllm.data.derive.augment import Augmentation
from speechllm.data.derive.sets import NON_SPEECH, derive, locate
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import UsageError


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    add_config(parser, required=False)
    add_sets(parser)


def run(args: Namespace) -> None:
    """Write and validate the sets."""
    derive([name for name in args.sets if "/" not in name], args.data, lambda: _augmentation(args))
    for one in locate(args.sets, args.data, shuffled=False):
        print(f"{one.data_dir}: {validate_data_dir(one.data_dir, need_text=one.name != NON_SPEECH)}")


def _augmentation(args: Namespace) -> Augmentation:
    """Return the augmentation that the experiment configures."""
    from speechllm.pretrained.directory import read_config

    options = None
    if args.config is not None:
        options = read_config(args.config, args.set, args.trust_components).data.augment
    if options is None:
        raise UsageError(
            "sets: found one ending in _aug, but no data.augment in the experiment YAML; "
            "give --set 'data.augment={snr: [5, 20], codecs: [mp3, gsm]}' for example"
        )
    return Augmentation.of(options)
