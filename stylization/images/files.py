"""Names, paths and bytes of pictures."""

import http.client
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from stylization.errors import InputError
from stylization.images.formats import SUFFIXES

WRITTEN = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
WRITTEN |= {".avif": "AVIF", ".bmp": "BMP", ".ppm": "PPM"}  # Pillow's name for each format that is written
TRANSPARENT = (".png", ".webp", ".tif", ".tiff", ".avif")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one of those that macOS leaves beside its files."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def is_picture(path: str) -> bool:
    """Whether a path has a picture's suffix and no hidden part."""
    place = PurePosixPath(path)
    return place.suffix.lower() in SUFFIXES and not any(map(is_hidden, place.parts))


def pictures_below(root: Path) -> list[Path]:
    """What is named like a picture below a folder, sorted; it may turn out to be a pipe, or a folder itself.

    Hidden files and folders are left out. Each folder is entered once, however many links lead to it. Raises
    `InputError`.
    """
    refused: list[OSError] = []
    entered: set[tuple[int, int]] = set()
    paths: list[Path] = []
    for parent, folders, names in os.walk(root, onerror=refused.append, followlinks=True):
        facts = Path(parent).stat()
        if (facts.st_dev, facts.st_ino) in entered:
            folders.clear()
            continue
        entered.add((facts.st_dev, facts.st_ino))
        paths += [Path(parent) / name for name in (*names, *folders) if is_picture(name)]
        folders[:] = sorted(name for name in folders if not is_hidden(name))
    if refused:
        raise InputError(f"cannot read {refused[0].filename}: {refused[0].strerror}")
    return sorted(paths)


def paired_paths(inputs: Sequence[str], output: Path, keep_suffix: bool = False) -> list[tuple[str, Path]]:
    """Each picture that is asked for, and the path of what will be made of it.

    One picture's output is the `output` itself, if that has a picture's suffix; otherwise it is a folder, in which a
    folder's pictures keep their places below it, as PNG, or with `keep_suffix` in their own format. Raises `InputError`
    if there is none, if two would be written to one path, or one over a picture or into the folder that is read.
    """

    def renamed(path: Path) -> Path:
        return path if keep_suffix and path.suffix.lower() in WRITTEN else path.with_suffix(".png")

    pairs: list[tuple[str, Path]] = []
    for name in inputs:
        root = Path(name).expanduser()
        if root.is_dir():
            if output.resolve().is_relative_to(root.resolve()):
                raise InputError(f"--output {output} is inside the folder {root} that is read: choose another")
            pairs += [(str(path), output / renamed(path.relative_to(root))) for path in pictures_below(root)]
        elif len(inputs) == 1 and output.suffix:
            check_suffix(output)
            check_output([output], inputs)
            return [(name, output)]
        else:
            pairs.append((name, output / renamed(Path(Path(urlsplit(name).path).name))))
    if not pairs:
        raise InputError(f"no picture in {', '.join(inputs) or 'what was given'}: name pictures or folders of them")
    if len({path for _, path in pairs}) < len(pairs):
        raise InputError("two pictures have the same name: give the folder above them, which keeps them apart")
    if output.is_file():
        raise InputError(f"--output {output} is a file: for several pictures give a folder")
    check_output((path for _, path in pairs), (name for name, _ in pairs))
    return pairs


def check_output(outputs: Iterable[Path], inputs: Iterable[str | None]) -> None:
    """Raise `InputError` if an output is one of the files that are read, under whatever name: by links, for example."""
    read = {identity: name for name in inputs if name and (identity := _identity(Path(name).expanduser()))}
    for output in outputs:
        if (identity := _identity(output)) and (name := read.get(identity)):
            raise InputError(f"--output={output}: would overwrite {name}, which is read; choose another name or folder")


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for every path of one file; None if there is none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino


def check_suffix(path: Path) -> str:
    """The picture format that the suffix names. Raises `InputError` if there is none that can be written."""
    image_format = WRITTEN.get(path.suffix.lower())
    if image_format is None:
        raise InputError(f"cannot write {path}: no picture format has the suffix '{path.suffix}' (try .png or .jpg)")
    return image_format


def regular_file(name: str) -> Path:
    """Return the path of a file. Raises `InputError` for a device, a pipe or a socket, which may never end."""
    path = Path(name).expanduser()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"cannot read {name}: it is not a regular file")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', error)}") from None
    return path


def read_bytes(name: str, num_bytes: int = -1) -> bytes:
    """Return the first bytes of a file or of what is at an http(s) address, or all of them. Raises `InputError`."""
    try:
        if name.startswith(("http://", "https://")):
            with urllib.request.urlopen(name, timeout=60) as response:
                return bytes(response.read(num_bytes))
        with regular_file(name).open("rb") as file:
            return file.read(num_bytes)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ValueError) as error:
        raise InputError(f"cannot fetch {name}: {getattr(error, 'reason', error)}") from None
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None
