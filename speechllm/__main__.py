"""``python -m speechllm VERB ...``, as launchers start it."""

import sys

from speechllm.bin import main

sys.exit(main())
