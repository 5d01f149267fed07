"""The files next to a CAD file that it names, found also where their names are not quite right."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn
from urllib.parse import unquote

from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".webp")
"""Suffixes of images that a texture may have."""
_FOLDERS = ("textures", "texture", "tex", "materials", "maps", "images", "materials/textures")
"""Folders in which exporters and simulators put textures, next to the CAD file or one folder above it."""
_OPTION = re.compile(
    r"-(?:(?:o|s|t)(?:\s+[-+.\deE]+){1,3}|mm(?:\s+[-+.\deE]+){1,2}|(?:boost|texres|bm)\s+[-+.\deE]+|"
    r"(?:blendu|blendv|cc|clamp|imfchan|type|colorspace)\s+\S+)\s+",
    re.IGNORECASE,
)


class CompanionFiles:
    """Finds the files that a CAD file names, also where the name is not quite right; a resolver for trimesh.

    It finds names with other slashes or another case, with options of a map before them, with the folders of another
    computer, in folders of usual names, and images of another format.

    Attributes:
        folder: Of the CAD file.
        root: Folder outside of which nothing is ever looked at or read, links included; None = no limit.
        missing: What was not found, as the file names it.
    """

    def __init__(self, cad: Path, root: Path | None = None) -> None:
        """Look at nothing yet.

        Args:
            cad: The CAD file.
            root: As of the class.
        """
        self.folder = Path(os.path.abspath(cad)).parent
        self.root = None if root is None else root.resolve()
        self.missing: list[str] = []
        self._known: dict[str, bytes | Path] = {}

    def find(self, name: str, library: Path | None = None) -> Path | None:
        """Look for one file.

        Args:
            name: As a CAD file or a material library says it.
            library: That material library, if any.

        Returns:
            The file, or None.
        """
        folders = [self.folder] if library is None or library.parent == self.folder else [library.parent, self.folder]
        spellings = list(dict.fromkeys(_spellings(name)))
        for folder in folders:
            for spelling in spellings:
                if (found := self._walk(folder, spelling)) is not None:
                    return found
        places = [*folders, *(base / place for base in (*folders, self.folder.parent) for place in _FOLDERS)]
        for spelling in spellings:
            own = PurePosixPath(spelling).name
            for place in places if own else ():
                if (found := self._walk(place, own)) is not None:
                    return found
        for spelling in spellings:
            stem, suffix = os.path.splitext(PurePosixPath(spelling).name)
            if suffix.lower() in IMAGE_SUFFIXES:
                for place in places:
                    if (found := self.image_named(stem, place)) is not None:
                        return found
        return None

    def image_named(self, stem: str, folder: Path | None = None) -> Path | None:
        """Look for an image of any format.

        Args:
            stem: Its name without suffix.
            folder: Where; None = the folder of the CAD file.

        Returns:
            The file, or None.
        """
        for suffix in IMAGE_SUFFIXES:
            if (found := self._walk(folder or self.folder, f"{stem}{suffix}")) is not None:
                return found
        return None

    def offer(self, name: str, content: bytes | Path) -> str:
        """Give content a name under which `get` returns it.

        Args:
            name: Any.
            content: Bytes, or the file that holds them.

        Returns:
            The name.
        """
        self._known[name] = content
        return name

    def miss(self, name: str) -> None:
        """Note that there is no usable file of a name.

        Args:
            name: As the CAD file says it; '' is not noted.
        """
        if name and name not in self.missing:
            self.missing.append(name)

    # the methods that trimesh needs of a resolver

    def get(self, name: str) -> bytes:
        """Read a file by its name.

        Args:
            name: One that was offered, or that a CAD file says.

        Returns:
            Its content.

        Raises:
            FileNotFoundError: It is not found, which is noted in `missing`.
        """
        content = self._known.get(name)
        if content is None:
            content = self.find(name)
        if content is None:
            self.miss(name)
            raise FileNotFoundError(name)
        return content if isinstance(content, bytes) else content.read_bytes()

    def __getitem__(self, name: str) -> bytes:
        """Read a file by its name, as `get`."""
        return self.get(name)

    def keys(self) -> list[str]:
        """List the names that were offered."""
        return list(self._known)

    def __contains__(self, name: str) -> bool:
        """Check whether a name was offered."""
        return name in self._known

    def namespaced(self, namespace: str) -> CompanionFiles:
        """Make the resolver of a folder next to the CAD file.

        Args:
            namespace: Name of the folder.

        Returns:
            A resolver that notes in the same list what is missing.
        """
        other = CompanionFiles(self.folder / namespace / "_", self.root or self.folder)
        other.missing = self.missing
        return other

    def write(self, name: str, data: bytes) -> NoReturn:
        """Refuse to write.

        Raises:
            OSError: Always.
        """
        raise OSError("files next to a CAD file are only read")

    def _allowed(self, path: Path) -> bool:
        return self.root is None or path.resolve().is_relative_to(self.root)

    def _walk(self, folder: Path, relative: str) -> Path | None:
        """Return the file at `relative` (slashes) below `folder`, whatever its case; None where there is none."""
        place = Path("/") if relative.startswith("/") else folder
        try:
            for part in PurePosixPath(relative.lstrip("/")).parts:
                step = place / part
                if not self._allowed(place):
                    return None
                if part != ".." and not step.exists():
                    if not place.is_dir():
                        return None
                    near = sorted(other for other in os.listdir(place) if other.casefold() == part.casefold())
                    if not near:
                        return None
                    step = place / near[0]
                place = Path(os.path.normpath(step)) if part == ".." else step
            return place if place.is_file() and self._allowed(place) else None
        except (OSError, ValueError):  # a folder that may not be listed, a name that is none
            return None


def without_options(value: str) -> str:
    """Remove the options that stand before the file name of a texture map.

    Args:
        value: What follows map_Kd.

    Returns:
        The name.
    """
    value = value.strip()
    while (option := _OPTION.match(value)) is not None:
        value = value[option.end() :].strip()
    return value


def _spellings(name: str) -> Iterator[str]:
    """Iterate over the ways in which a name may be meant, with forward slashes."""
    for text in (name.strip(), without_options(name), without_options(name).split(" -")[0], unquote(name.strip())):
        text = text.strip("\"' \t").replace("\\", "/")
        text = re.sub(r"^file:/*(?=/|[a-z]:)", "", text, flags=re.IGNORECASE)
        if re.match(r"[a-z]:", text, re.IGNORECASE):  # a drive of Windows
            text = PurePosixPath(text[2:]).name
        if text:
            yield text


def is_readable_image(file: Path) -> bool:
    """Check whether a file is an image that can be decoded.

    Args:
        file: It must exist.
    """
    try:
        with Image.open(io.BytesIO(file.read_bytes())) as picture:
            picture.load()
        return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
