"""Entry point of ``python -m speechllm VERB ...``, which launchers use."""

import os
import sys

if sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):  # noqa: PTH109
    del sys.path[0]  # the working directory may be that of a model: no file in it may shadow a module

from speechllm.bin import main

sys.exit(main())
