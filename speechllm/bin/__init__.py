"""The command ``speechllm VERB ...``: one file per verb, each with ``add_arguments`` and ``run``.

The module of a verb is imported only when that verb runs, so ``speechllm score`` starts without torch. The file of a
verb that is a Python keyword ends with an underscore: ``import`` is ``import_.py``. Files that begin with an underscore
are shared by the verbs.
"""

import argparse
import ast
import importlib
import keyword
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from speechllm.bin._renamed import check_verb
from speechllm.collector import skip_collection_at_exit
from speechllm.failures import exit_status, named_stdout, terminable

DESCRIPTION = "Train and use speech recognisers that connect a speech encoder to a large language model."


def verbs() -> list[str]:
    """Return the names of all verbs."""
    names = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return sorted(name.rstrip("_") for name in names)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit status.

    0: success; 1: an error that the user can correct; 2: an invalid command line; 3: success, but some items were left
    out and listed; 130, 143, 129: ended by Ctrl-C, SIGTERM, SIGHUP; 141: the output pipe was closed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    skip_collection_at_exit()
    try:
        with terminable(), named_stdout():
            return _run(argv)
    except BaseException as error:
        status = exit_status(error, " ".join(["speechllm", *argv[:1]]))
        if status is None:
            raise
        return status


def _run(argv: list[str]) -> int:
    verb = _choose(argv[:1])
    module = importlib.import_module(f"{__name__}.{_file_name(verb)}")
    parser = argparse.ArgumentParser(prog=f"speechllm {verb}", description=module.__doc__)
    module.add_arguments(parser)
    return module.run(parser.parse_args(argv[1:])) or 0


def _choose(argv: list[str]) -> str:
    names = verbs()
    if argv and argv[0] in names:
        return argv[0]
    check_verb(*argv)
    lines = [f"  {name:<{max(map(len, names))}}  {_summary(name)}" for name in names]
    chooser = argparse.ArgumentParser(
        prog="speechllm",
        usage="speechllm VERB ...",
        description=DESCRIPTION,
        epilog="\n".join(["verbs (each has its own --help):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    chooser.add_argument("verb", choices=names, metavar="VERB", help="one of the verbs below")
    return str(chooser.parse_args(argv).verb)


def _file_name(verb: str) -> str:
    return f"{verb}{'_' * keyword.iskeyword(verb)}"


def _summary(verb: str) -> str:
    """Return the first line of the docstring of a verb's module, without importing it."""
    tree = ast.parse(Path(__file__).with_name(f"{_file_name(verb)}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]
