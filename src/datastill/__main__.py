"""``python -m datastill``."""

import sys

from .cli import main

sys.exit(main())
