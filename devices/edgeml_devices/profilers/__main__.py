"""``python -P -m edgeml_devices.profilers REQUEST``: profile one variant, in this process.

REQUEST is a JSON object, see :func:`edgeml_devices.profilers.job.profile`. Prints one, with ``error`` where the model
cannot be profiled. A broken model file may end the process.
"""

import sys

from edgeml_devices.profilers.job import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
