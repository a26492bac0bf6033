"""A video repainted frame by frame, by PyAV (the extra `video`): clip in, film out; the sound is copied."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylization.video.clip import Clip
    from stylization.video.repainting import repaint

__all__ = ["SUFFIXES", "Clip", "repaint"]

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")  # of what is read and written


def __getattr__(name: str) -> Any:
    # What is no video must be known without PyAV.
    if name in ("Clip", "repaint"):
        from stylization.video import clip, repainting

        return clip.Clip if name == "Clip" else repainting.repaint
    raise AttributeError(f"module 'stylization.video' has no attribute '{name}'")
