"""Where content images come from, and in which order they flow."""

from stylization.content.data import Content
from stylization.content.sources import Files, Source, folder, held_out_samples, train_samples
from stylization.content.stream import Endless, Stream

__all__ = ["Content", "Endless", "Files", "Source", "Stream", "folder", "held_out_samples", "train_samples"]
