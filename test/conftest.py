"""What all tests share."""

from hypothesis import settings

# a slow or busy machine is no failure
settings.register_profile("ism", deadline=None, max_examples=60)
settings.load_profile("ism")
