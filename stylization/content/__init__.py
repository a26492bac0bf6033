"""Where content images come from, and in which order they flow."""

from stylization.content.archives import Shards, Zip
from stylization.content.data import Content
from stylization.content.packing import open_source
from stylization.content.sources import (
    Files,
    Part,
    RemoteFiles,
    Source,
    first,
    folder,
    held_out_samples,
    last_images,
    train_samples,
)
from stylization.content.stream import Endless, Stream

__all__ = [
    "Content",
    "Endless",
    "Files",
    "Part",
    "RemoteFiles",
    "Shards",
    "Source",
    "Stream",
    "Zip",
    "first",
    "folder",
    "held_out_samples",
    "last_images",
    "open_source",
    "train_samples",
]
