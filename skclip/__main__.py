"""``python -m skclip``, where the command is not on the path."""

import sys

from skclip.cli import main

sys.exit(main())
