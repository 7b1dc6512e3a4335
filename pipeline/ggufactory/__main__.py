"""`python -m ggufactory` is the same as the command `ggufactory`."""

import sys

from ggufactory.cli import main

sys.exit(main())
