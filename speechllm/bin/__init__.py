"""The command ``speechllm VERB ...``: one verb a file, each with ``add_arguments`` and ``run``.

A verb's module is imported only when it is asked for, so ``speechllm score`` starts without torch. A verb that is
a word of Python has an underscore behind its file's name: ``import`` is ``import_.py``.
"""

import argparse
import importlib
import keyword
import pkgutil
import sys
from collections.abc import Sequence

from speechllm.errors import SpeechLLMError


def verbs() -> list[str]:
    """Return the names of all verbs."""
    return sorted(module.name.rstrip("_") for module in pkgutil.iter_modules(__path__))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit status.

    0 done, 1 an error the user can mend, 2 a wrong command line, 3 done but for utterances that were left out.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    chooser = argparse.ArgumentParser(prog="speechllm", description=__doc__.split("\n")[0])
    chooser.add_argument("verb", choices=verbs(), metavar="VERB", help=", ".join(verbs()))
    verb = chooser.parse_args(argv[:1]).verb
    module = importlib.import_module(f"{__name__}.{verb}{'_' * keyword.iskeyword(verb)}")
    parser = argparse.ArgumentParser(prog=f"speechllm {verb}", description=module.__doc__)
    module.add_arguments(parser)
    try:
        return module.run(parser.parse_args(argv[1:])) or 0
    except SpeechLLMError as error:
        print(f"speechllm {verb}: {error}", file=sys.stderr)
        return 1
