"""``python -m benchmarks.peers``: see `benchmarks.peers.comparison`."""

import sys

from benchmarks.peers.comparison import main

sys.exit(main())
