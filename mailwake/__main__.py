"""`python -m mailwake` is `mailwake`."""

import sys

from mailwake.cli import main

sys.exit(main())
