"""`python -m runlog` is the command line."""

import sys

from runlog.cli import main

sys.exit(main())
