"""Make `import ism_ros` find the installed package, also from inside the source tree.

Python puts the current directory (or the script's) in front of its path. In a checkout that is the
source tree, which has no generated messages: `from ism_ros.msg import ...` would fail there and work
everywhere else. The setup copies this module into its virtual environment and starts it from a .pth
file; from then on `ism_ros` alone is looked up without the source trees, and only when no installed
package is found do these count again.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

PACKAGE = "ism_ros"


def is_source_tree(folder: str) -> bool:
    """Whether `folder` (a sys.path entry, "" for the current directory) is a checkout of the package."""
    return os.path.isfile(os.path.join(folder or os.getcwd(), "package.xml"))


class InstalledFirst:
    """A meta path finder for one top-level name; every other import is left alone."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Find the installed package, or None for the normal search."""
        if name != PACKAGE:
            return None
        return PathFinder.find_spec(name, [folder for folder in sys.path if not is_source_tree(folder)])


def activate() -> None:
    """Put the finder in front of the normal search, once."""
    if not any(finder is InstalledFirst for finder in sys.meta_path):
        sys.meta_path.insert(0, InstalledFirst)
