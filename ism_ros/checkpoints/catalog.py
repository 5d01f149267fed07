"""The official checkpoint files: names, sources, licences, hashes, and where they are on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ism_ros.errors import CheckpointError

_META_URL = "https://dl.fbaipublicfiles.com"
_FASTSAM_URL = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_DINOV3_FORM_URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"


@dataclass(frozen=True)
class Checkpoint:
    """One official checkpoint file.

    Attributes:
        name: FAMILY/MODEL, such as sam/vit_h.
        file_name: Name of the file as its authors publish it.
        url: The file itself, or the page to ask for it where `manual`.
        licence: Its licence.
        size_bytes: Size of the file; None where it is not publicly known.
        sha256: Its SHA-256, hexadecimal; None where it is not publicly known.
        sha256_prefix: First digits of the SHA-256 where the file's name holds them, else "".
        earlier: (size_bytes, sha256) of each older release under the same name.
        hub_name: Folder of the same model in the format of the transformers library, "" where there is none.
        exports: Names of files of the same model that a user makes of it; they are taken before it.
        manual: Whether the licence has to be accepted on a web page before it can be downloaded.
    """

    name: str
    file_name: str
    url: str
    licence: str
    size_bytes: int | None = None
    sha256: str | None = None
    sha256_prefix: str = ""
    earlier: tuple[tuple[int, str], ...] = ()
    hub_name: str = ""
    exports: tuple[str, ...] = ()
    manual: bool = False

    @property
    def family(self) -> str:
        """Name of the segmentor or descriptor that loads it."""
        return self.name.split("/")[0]

    @property
    def model(self) -> str:
        """Name of the model within its family."""
        return self.name.split("/")[1]

    @property
    def releases(self) -> tuple[tuple[int | None, str], ...]:
        """(size_bytes, sha256) of every release whose SHA-256 is known."""
        newest: tuple[tuple[int | None, str], ...] = () if self.sha256 is None else ((self.size_bytes, self.sha256),)
        return newest + self.earlier


def _sam(model: str, size: str, file_name: str, size_bytes: int, sha256: str) -> Checkpoint:
    url = f"{_META_URL}/segment_anything/{file_name}"
    return Checkpoint(f"sam/{model}", file_name, url, "Apache-2.0", size_bytes, sha256, hub_name=f"sam-vit-{size}")


def _sam2(model: str, size_bytes: int, sha256: str) -> Checkpoint:
    file_name = f"sam2.1_hiera_{model}.pt"
    url = f"{_META_URL}/segment_anything_2/092824/{file_name}"
    hub_name = f"sam2.1-hiera-{model.replace('_', '-')}"
    return Checkpoint(f"sam2/{model}", file_name, url, "Apache-2.0", size_bytes, sha256, hub_name=hub_name)


def _fastsam(model: str, size_bytes: int, sha256: str, *earlier: tuple[int, str]) -> Checkpoint:
    return Checkpoint(
        name=f"fastsam/{model}",
        file_name=f"FastSAM-{model}.pt",
        url=f"{_FASTSAM_URL}/FastSAM-{model}.pt",
        licence="AGPL-3.0",
        size_bytes=size_bytes,
        sha256=sha256,
        earlier=earlier,
        exports=(f"FastSAM-{model}.onnx",),
    )


def _dinov2(model: str, size: str, size_bytes: int, sha256: str) -> Checkpoint:
    backbone, _, registers = model.partition("_")
    file_name = f"dinov2_{backbone}_{'reg4_' if registers else ''}pretrain.pth"
    url = f"{_META_URL}/dinov2/dinov2_{backbone}/{file_name}"
    hub_name = f"dinov2-{'with-registers-' if registers else ''}{size}"
    return Checkpoint(f"dinov2/{model}", file_name, url, "Apache-2.0", size_bytes, sha256, hub_name=hub_name)


def _dinov3(model: str, sha256_prefix: str, size_bytes: int | None = None, sha256: str | None = None) -> Checkpoint:
    return Checkpoint(
        name=f"dinov3/{model}",
        file_name=f"dinov3_{model}_pretrain_lvd1689m-{sha256_prefix}.pth",
        url=_DINOV3_FORM_URL,
        licence="DINOv3 License",
        size_bytes=size_bytes,
        sha256=sha256,
        sha256_prefix=sha256_prefix,
        hub_name=f"dinov3-{model}-pretrain-lvd1689m",
        manual=True,
    )


# fmt: off
_ALL = (
    _sam("vit_b", "base", "sam_vit_b_01ec64.pth", 375_042_383,
         "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    _sam("vit_l", "large", "sam_vit_l_0b3195.pth", 1_249_524_607,
         "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _sam("vit_h", "huge", "sam_vit_h_4b8939.pth", 2_564_550_879,
         "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    _sam2("tiny", 156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _sam2("small", 184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _sam2("base_plus", 323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _sam2("large", 898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    _fastsam("s", 23_851_578, "c9f78716a81c7aff0d608ccc73e1b82ab3aaad86005049f6a92106a0be6d0844"),
    _fastsam("x", 144_972_346, "752cadc2828edb1cd4bc4f9eb587100631af06ea2108f4c9ed56df4755701e76",
             (144_943_063, "c0be4e7ddbe4c15333d15a859c676d053c486d0a746a3be6a7a9790d52a9b6d7")),
    _dinov2("vits14", "small", 88_283_115, "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
    _dinov2("vitb14", "base", 346_378_731, "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
    _dinov2("vitl14", "large", 1_217_586_395, "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
    _dinov2("vitg14", "giant", 4_546_108_579, "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3"),
    _dinov2("vits14_reg", "small", 88_291_785, "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb"),
    _dinov2("vitb14_reg", "base", 346_393_545, "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71"),
    _dinov2("vitl14_reg", "large", 1_217_607_321, "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51"),
    _dinov2("vitg14_reg", "giant", 4_546_140_349, "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283"),
    _dinov3("vits16", "08c60483", None, "08c60483bc63c04f533611e34bf70b120eedb7240f469bc16e9e20bf344b941d"),
    _dinov3("vits16plus", "4057cbaa", None, "4057cbaaad8c16657adb09d6815f28d4164eeba30532fde23f0d17313124caea"),
    _dinov3("vitb16", "73cec8be", 342_860_279, "73cec8be7427c8655ceced13ce62f6e20a1fa90d1b4d4a550df17a1144081a7c"),
    _dinov3("vitl16", "8aa4cbdd", 1_213_050_671, "8aa4cbddda325040fc78db2c272754af6ebe8ff2c55f6ec4f1964d8890f66035"),
    _dinov3("vith16plus", "7c1da9a5", 3_363_232_567,
            "7c1da9a54b3bdb333f5ebc42e404b7f19b1b5bed504877623c9dc87397f41488"),
    _dinov3("vit7b16", "a955f4ea"),
)
# fmt: on

CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType({checkpoint.name: checkpoint for checkpoint in _ALL})
"""Every official checkpoint by its name, such as sam/vit_h."""

PROFILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "fast": ("sam2/tiny", "dinov2/vits14"),
        "balanced": ("sam2/base_plus", "dinov2/vitb14"),
        "accurate": ("sam/vit_h", "dinov2/vitl14"),
    }
)
"""Checkpoints of a segmentor and of a descriptor that the profiles of settings need."""


def checkpoint_named(name: str, checkpoints: Mapping[str, Checkpoint] = CHECKPOINTS) -> Checkpoint:
    """Look up a checkpoint.

    Args:
        name: Such as sam/vit_h.
        checkpoints: Those that there are, by name.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: There is none of that name; the message lists those of its family.
    """
    if name in checkpoints:
        return checkpoints[name]
    family = name.split("/")[0]
    known = [other for other in checkpoints if other.split("/")[0] == family] or list(checkpoints)
    raise CheckpointError(f"checkpoint '{name}' is unknown; choose one of: {', '.join(known)}")


def find_checkpoint(checkpoints_dir: Path, family: str, model: str) -> Path:
    """Find the checkpoint of one model on this machine.

    Looks in `checkpoints_dir` and in its folders, one level deep: exports first, then the official file, then a folder
    in the format of the transformers library.

    Args:
        checkpoints_dir: Folder of checkpoints.
        family: As in the name of a checkpoint, such as sam.
        model: As in the name, such as vit_h; or the path of a file, or of a folder with config.json and
            model.safetensors.

    Returns:
        The path of the file or folder.

    Raises:
        CheckpointError: It is not there; the message is one line that says how to get it.
    """
    checkpoint = CHECKPOINTS.get(f"{family}/{model}")
    if checkpoint is None:
        return _given_path(family, model)
    found = installed_path(checkpoint, checkpoints_dir)
    if found is None:
        raise CheckpointError(_not_there(checkpoint, checkpoints_dir))
    return found


def installed_path(checkpoint: Checkpoint, checkpoints_dir: Path) -> Path | None:
    """Find a checkpoint by the rules of `find_checkpoint`.

    Args:
        checkpoint: Which one.
        checkpoints_dir: Folder of checkpoints.

    Returns:
        The path of the file or folder; None where it is not installed.
    """
    return next(places_of(checkpoint, checkpoints_dir), None)


def places_of(checkpoint: Checkpoint, checkpoints_dir: Path) -> Iterator[Path]:
    """Yield every place where a checkpoint is installed.

    Args:
        checkpoint: Which one.
        checkpoints_dir: Folder of checkpoints.

    Yields:
        Paths of files and folders, the one that is used first.
    """
    folders = (checkpoints_dir, *_subfolders(checkpoints_dir))
    for name in (*checkpoint.exports, checkpoint.file_name):
        yield from (folder / name for folder in folders if (folder / name).is_file())
    if checkpoint.hub_name:
        candidates = [folder / checkpoint.hub_name for folder in folders]
        yield from (folder for folder in candidates if is_transformers_folder(folder))


def partial_path(target: Path) -> Path:
    """Name the file that holds the bytes of an unfinished download of `target`."""
    return target.with_name(f"{target.name}.part")


def is_transformers_folder(folder: Path) -> bool:
    """Tell whether `folder` holds a whole model as the transformers library saves it."""
    weights = ("model.safetensors", "model.safetensors.index.json")
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in weights)


def how_to_get(checkpoint: Checkpoint, checkpoints_dir: Path) -> str:
    """Say how a user gets a checkpoint without this program.

    Args:
        checkpoint: Which one.
        checkpoints_dir: Folder that it belongs into.

    Returns:
        The end of a sentence.
    """
    if checkpoint.manual:
        return f"accept its licence at {checkpoint.url}, and put {checkpoint.file_name} into {checkpoints_dir}"
    return f"fetch {checkpoint.url} by hand and put it into {checkpoints_dir}"


def ways_to_get(checkpoint: Checkpoint, checkpoints_dir: Path) -> str:
    """Say how a user gets a checkpoint, with this program where it can.

    Args:
        checkpoint: Which one.
        checkpoints_dir: Folder that it belongs into.

    Returns:
        The end of a sentence.
    """
    by_hand = how_to_get(checkpoint, checkpoints_dir)
    return by_hand if checkpoint.manual else f"run `ism weights download {checkpoint.name}`, or {by_hand}"


def _given_path(family: str, model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_file() or is_transformers_folder(path):
        return path
    if path.is_dir():
        raise CheckpointError(f"folder {path} is no checkpoint: it needs config.json and model.safetensors")
    if os.sep in model or path.suffix:
        raise CheckpointError(f"checkpoint {path} does not exist")
    known = [checkpoint.model for checkpoint in CHECKPOINTS.values() if checkpoint.family == family]
    choice = f"choose one of {', '.join(known)}, or" if known else "give"
    raise CheckpointError(f"{family} model '{model}' is unknown; {choice} the path of a checkpoint file or folder")


def _not_there(checkpoint: Checkpoint, checkpoints_dir: Path) -> str:
    looked_for = " or ".join((checkpoint.file_name, *checkpoint.exports))
    if checkpoint.hub_name:
        looked_for += f" or a folder {checkpoint.hub_name} with config.json and model.safetensors"
    siblings = [other for other in CHECKPOINTS.values() if other.family == checkpoint.family]
    here = [other.name for other in siblings if installed_path(other, checkpoints_dir) is not None]
    if here:
        looked_for += f"; there is {', '.join(here)}"
    place = checkpoints_dir if checkpoints_dir.is_dir() else f"{checkpoints_dir}, which does not exist"
    advice = ways_to_get(checkpoint, checkpoints_dir)
    return f"checkpoint {checkpoint.name} is not in {place} (looked for {looked_for}): {advice}"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
