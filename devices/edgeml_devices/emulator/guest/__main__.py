"""``python -m edgeml_devices.emulator.guest REQUEST``: test and count one variant, in this process.

REQUEST is a JSON object, see :func:`edgeml_devices.emulator.guest.job.answer`. Prints one, with ``error`` where the
variant cannot be used.
"""

import sys

from edgeml_devices.emulator.guest.job import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
