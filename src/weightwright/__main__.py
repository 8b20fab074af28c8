"""`python -m weightwright` is `weightwright`."""

import sys

from weightwright.cli.app import main

sys.exit(main())
