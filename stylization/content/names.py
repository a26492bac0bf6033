"""Names of pictures, of the same kind in folders, in archives and behind URLs."""

from pathlib import PurePosixPath

from stylization.images import SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one of those that macOS leaves beside its files."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def is_picture(path: str) -> bool:
    """Whether a path has a picture's suffix and no hidden part."""
    place = PurePosixPath(path)
    return place.suffix.lower() in SUFFIXES and not any(map(is_hidden, place.parts))
