"""``python -m edgeml_runtime.measure``: see :mod:`edgeml_runtime.measure.cli`."""

import sys

from edgeml_runtime.measure.cli import main

sys.exit(main(sys.argv[1:]))
