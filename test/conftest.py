"""What all tests share."""

import sys
from pathlib import Path

# last, so that the installed package comes before its sources, and training/ is found all the same
sys.path.append(str(Path(__file__).parents[1]))

try:
    from hypothesis import settings
except ImportError:  # the tests that need it skip
    pass
else:
    # a slow or busy machine is no failure
    settings.register_profile("ism", deadline=None, max_examples=60)
    settings.load_profile("ism")
