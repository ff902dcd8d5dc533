"""``python -m speechllm VERB ...``, as launchers start it."""

import os
import sys

if sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):  # noqa: PTH109
    del sys.path[0]  # the working directory, which may be a model's: no file there may be imported instead of a module

from speechllm.bin import main

sys.exit(main())
