"""Names, paths and bytes of pictures."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from stylization.errors import InputError
from stylization.images.formats import SUFFIXES


def paired_paths(inputs: Sequence[str], output: Path, keep_suffix: bool = False) -> list[tuple[str, Path]]:
    """Each picture that is asked for, and the path of what will be made of it.

    One picture's output is the `output` itself, if that has a picture's suffix; otherwise it is a folder, in which a
    folder's pictures keep their places below it, as PNG, or with `keep_suffix` in their own format. Raises `InputError`
    if there is none, or if two would be written to one path, or into the folder that is read.
    """

    def renamed(path: Path) -> Path:
        own = Image.registered_extensions().get(path.suffix.lower()) in Image.SAVE and path.suffix.lower() != ".gif"
        return path if keep_suffix and own else path.with_suffix(".png")

    pairs: list[tuple[str, Path]] = []
    for name in inputs:
        root = Path(name).expanduser()
        if root.is_dir():
            if output.resolve().is_relative_to(root.resolve()):
                raise InputError(f"--output {output} is inside the folder {root} that is read: choose another")
            found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
            pairs += [(str(path), output / renamed(path.relative_to(root))) for path in found]
        elif len(inputs) == 1 and output.suffix:
            check_suffix(output)
            return [(name, output)]
        else:
            pairs.append((name, output / renamed(Path(Path(urlsplit(name).path).name))))
    if not pairs:
        raise InputError(f"no picture in {', '.join(inputs) or 'what was given'}: name pictures or folders of them")
    if len({path for _, path in pairs}) < len(pairs):
        raise InputError("two pictures have the same name: give the folder above them, which keeps them apart")
    if output.is_file():
        raise InputError(f"--output {output} is a file: for several pictures give a folder")
    return pairs


def check_suffix(path: Path) -> str:
    """The picture format that the suffix names. Raises `InputError` if there is none that can be written."""
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None or image_format not in Image.SAVE:
        raise InputError(f"cannot write {path}: no picture format has the suffix '{path.suffix}' (try .png or .jpg)")
    return image_format


def read_bytes(name: str) -> bytes:
    try:
        if name.startswith(("http://", "https://")):
            with urllib.request.urlopen(name, timeout=60) as response:
                return bytes(response.read())
        return Path(name).expanduser().read_bytes()
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ValueError) as error:
        raise InputError(f"cannot fetch {name}: {getattr(error, 'reason', error)}") from None
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None
