"""Which files a CAD file consists of, found without parsing its geometry, and where they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn
from urllib.parse import unquote

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".webp")
_FOLDERS = ("textures", "texture", "tex", "materials", "maps", "images", "materials/textures")
"""Where exporters and simulators put pictures, beside the CAD file or one folder above it."""
_OPTION = re.compile(
    r"-(?:(?:o|s|t)(?:\s+[-+.\deE]+){1,3}|mm(?:\s+[-+.\deE]+){1,2}|(?:boost|texres|bm)\s+[-+.\deE]+|"
    r"(?:blendu|blendv|cc|clamp|imfchan|type|colorspace)\s+\S+)\s+",
    re.IGNORECASE,
)


class CompanionFiles:
    """Finds the files that a CAD file names, also where the name is not quite right; a resolver for trimesh.

    Found are names with other slashes or another case, with options of a map before them, with the folders of another
    computer, in folders of usual names, and pictures of another format.

    Attributes:
        folder: Of the CAD file.
        root: Nothing outside this folder is ever looked at or read, links included; None = no limit.
        missing: What was looked for in vain, in the words of the file.
    """

    def __init__(self, cad: Path, root: Path | None = None) -> None:
        self.folder = Path(os.path.abspath(cad)).parent
        self.root = None if root is None else root.resolve()
        self.missing: list[str] = []
        self._known: dict[str, bytes | Path] = {}

    def find(self, name: str, beside: Path | None = None) -> Path | None:
        """Look for one file.

        Args:
            name: As a CAD file or a material library says it.
            beside: That material library, if any.

        Returns:
            The file, or None.
        """
        folders = [self.folder] if beside is None or beside.parent == self.folder else [beside.parent, self.folder]
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
            if suffix.lower() in PICTURES:
                for place in places:
                    if (found := self.picture_named(stem, place)) is not None:
                        return found
        return None

    def picture_named(self, stem: str, folder: Path | None = None) -> Path | None:
        """A picture of any format with this name before its suffix, in the CAD file's folder or another one."""
        for suffix in PICTURES:
            if (found := self._walk(folder or self.folder, f"{stem}{suffix}")) is not None:
                return found
        return None

    def offer(self, name: str, content: bytes | Path) -> str:
        """Have `get` answer `name` with this content; returns the name."""
        self._known[name] = content
        return name

    def miss(self, name: str) -> None:
        """Note that there is no usable file of that name."""
        if name and name not in self.missing:
            self.missing.append(name)

    # what trimesh asks of a resolver

    def get(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        content = self._known.get(name)
        if content is None:
            content = self.find(name)
        if content is None:
            self.miss(name)
            raise FileNotFoundError(name)
        return content if isinstance(content, bytes) else content.read_bytes()

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def keys(self) -> list[str]:
        return list(self._known)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def namespaced(self, namespace: str) -> CompanionFiles:
        other = CompanionFiles(self.folder / namespace / "_", self.root or self.folder)
        other.missing = self.missing
        return other

    def write(self, name: str, data: bytes) -> NoReturn:
        raise OSError("files beside a CAD file are only read")

    def _allowed(self, path: Path) -> bool:
        return self.root is None or path.resolve().is_relative_to(self.root)

    def _walk(self, folder: Path, relative: str) -> Path | None:
        """The file at `relative` (slashes) below `folder`, its case aside; None where there is none."""
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
    """What follows map_Kd without its options."""
    value = value.strip()
    while (option := _OPTION.match(value)) is not None:
        value = value[option.end() :].strip()
    return value


def _spellings(name: str) -> Iterator[str]:
    """Ways in which a name may be meant, with slashes as here."""
    for text in (name.strip(), without_options(name), without_options(name).split(" -")[0], unquote(name.strip())):
        text = text.strip("\"' \t").replace("\\", "/")
        text = re.sub(r"^file:/*(?=/|[a-z]:)", "", text, flags=re.IGNORECASE)
        if re.match(r"[a-z]:", text, re.IGNORECASE):  # a drive of Windows
            text = PurePosixPath(text[2:]).name
        if text:
            yield text


def referenced_files(path: Path, root: Path | None = None) -> tuple[Path, ...]:
    """Files next to a CAD file that its text names: materials and textures of OBJ, PLY and glTF.

    They are looked for as `CompanionFiles` does. Files that do not exist are left out; formats that hold everything
    themselves (STL, GLB) give none.
    """
    files = CompanionFiles(path, root)
    found: list[Path] = []
    queue = [path]
    while queue:
        mother = queue.pop()
        is_material = mother != path and path.suffix.lower() == ".obj"
        stems = [path.stem] if mother == path and path.suffix.lower() in (".obj", ".ply") else []
        for name in _names_in_materials(mother) if is_material else names_in(mother):
            other = files.find(name, mother)
            if other is None:
                stems.append(PurePosixPath(name.replace("\\", "/")).stem)
            elif other not in found and not _same(other, path):
                found.append(other)
                queue.append(other)
        for stem in stems:  # of a material library or picture that is not there
            picture = files.picture_named(stem)
            if picture is not None and picture not in found:
                found.append(picture)
    return tuple(sorted(found))


def _same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def names_in(path: Path) -> list[str]:
    """File names that an OBJ, MTL, PLY header, glTF or GLB mentions."""
    suffix = path.suffix.lower()
    if suffix in (".gltf", ".glb"):
        return _uris(glb_json(path) if suffix == ".glb" else path.read_bytes())
    if suffix == ".ply":
        lines = _ply_textures(path)
    elif suffix == ".obj":
        lines = _after_keyword(path, rb"mtllib")
    elif suffix == ".mtl":
        return _names_in_materials(path)
    else:
        return []
    return _names_of(lines)


def _names_in_materials(path: Path) -> list[str]:
    return _names_of(_after_keyword(path, rb"map_\w+|bump|disp|refl"))


def _names_of(lines: list[bytes]) -> list[str]:
    """A name may hold spaces; options of a map stand before it."""
    values = [line.decode("utf-8", errors="replace").strip() for line in lines]
    return [name for value in values if value for name in (value, value.split()[-1])]


def _after_keyword(path: Path, keywords: bytes) -> list[bytes]:
    pattern = rb"^[ \t]*(?:" + keywords + rb")[ \t]+([^\r\n]+)"
    return re.findall(pattern, path.read_bytes(), re.MULTILINE | re.IGNORECASE)


def _ply_textures(path: Path) -> list[bytes]:
    """What follows the word in any line of the header, however long that is: readers want neither `comment` before
    it nor a space behind it."""
    word = b"texturefile"
    found = []
    with path.open("rb") as file:
        for line in file:
            if b"end_header" in line.split():
                break
            if (at := line.lower().find(word)) >= 0:
                found.append(line[at + len(word) :])
    return found


def _uris(text: bytes) -> list[str]:
    """Of the buffers and images of a glTF; those of one that is damaged are none."""
    try:
        tree = json.loads(text)
        uris = [item.get("uri") for item in [*tree.get("buffers", []), *tree.get("images", [])]]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []
    return [unquote(uri) for uri in uris if isinstance(uri, str) and uri and not uri.startswith("data:")]


def glb_json(path: Path) -> bytes:
    """The first chunk, which is JSON, after 12 bytes about the file and 8 about the chunk."""
    with path.open("rb") as file:
        head = file.read(20)
        return file.read(int.from_bytes(head[12:16], "little"))
