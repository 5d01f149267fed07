"""What all tests share."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

# last, so that the installed package comes before its sources, and training/ is found all the same
sys.path.append(str(Path(__file__).parents[1]))

from ism_ros.runtime.threads import configure_thread_env

# as every program of this package does: threads that spin while they wait take the cores from other processes
configure_thread_env()

try:
    from hypothesis import settings
except ImportError:  # the tests that need it skip
    pass
else:
    # a slow or busy machine is no failure
    settings.register_profile("ism", deadline=None, max_examples=60)
    settings.load_profile("ism")


@pytest.fixture(scope="session")
def sample_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the objects of the sample scene are, described by the default; one for all workers."""
    from ism_ros.config.settings import Settings
    from ism_ros.loading import load_model
    from ism_ros.selftest.sample_files import SCENE

    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "user_cache" / "ism_ros"
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds what the first one has made
        load_model(Settings(objects_file=str(SCENE / "objects.yaml"), cache_dir=str(folder), device="cpu"))
    return folder
