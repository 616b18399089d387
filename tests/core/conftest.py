"""Property tests of the core are not timed: a loaded machine is no counterexample."""

from hypothesis import settings

settings.register_profile("mainspring", deadline=None)
settings.load_profile("mainspring")
