"""Arguments that several verbs share."""

import argparse
import re

import yaml

_NEXT_KEY = re.compile(r"(\s+)(?=[A-Za-z_]\w*(?:\.\w+)*=)")


def add_set(parser: argparse.ArgumentParser, text: str = "overrides of the YAML; may be repeated") -> None:
    """Declare --set, which collects a list of ``section.key=value``."""
    parser.add_argument("--set", action="extend", type=split_overrides, default=[], metavar="KEY=VALUE", help=text)


def add_switch(parser: argparse.ArgumentParser, name: str, override: str, text: str) -> None:
    """Declare an option that adds an override to those of --set."""
    parser.add_argument(name, dest="set", action="append_const", const=override, help=text)


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Declare --config, --set and --trust_components, the arguments of ``read_config``."""
    parser.add_argument("--config", required=required, help="experiment YAML, or a trained model")
    add_set(parser)
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Declare --trust_components."""
    parser.add_argument(
        "--trust_components", action="store_true", help="import modules outside speechllm that the model names"
    )


def split_overrides(text: str) -> list[str]:
    """Return the overrides in ``text``, separated by spaces.

    A value may contain spaces: it ends at the next ``key=`` outside quotes and brackets.
    """
    first, *rest = _NEXT_KEY.split(text.strip())
    found = [first] if first else []
    for space, part in zip(rest[::2], rest[1::2], strict=True):
        if _is_whole(found[-1]):
            found.append(part)
        else:
            found[-1] += space + part
    return found


def _is_whole(override: str) -> bool:
    try:
        yaml.safe_load(override.partition("=")[2])
    except yaml.YAMLError:
        return False
    return True
