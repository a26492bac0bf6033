"""Videos written: frames encoded at the times they had, sound copied packet by packet."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from stylization.errors import InputError
from stylization.video.clip import Clip, Frame, Sound


class Kind(NamedTuple):
    container: str
    codec: str
    multiple_px: int  # of both sides, that the encoder demands


KINDS = {
    ".mp4": Kind("mp4", "libx264", 2),
    ".mov": Kind("mov", "libx264", 2),
    ".mkv": Kind("matroska", "libx264", 2),
    ".webm": Kind("webm", "libvpx-vp9", 1),
}
QUALITY = {
    # Without B-frames what is shown in order is stored in order: a frame's duration is exact at a variable rate, too.
    "libx264": {"crf": "18", "bf": "0"},
    "libvpx-vp9": {"crf": "24", "cpu-used": "3", "row-mt": "1"},
}
OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")  # what metadata say of the clip's file
OF_THE_PICTURE = ("title", "language", "creation_time")


def kind_of(path: Path) -> Kind:
    """The kind of video that the suffix names. Raises `InputError` for another."""
    if path.suffix.lower() not in KINDS:
        raise InputError(f"cannot write {path}: a video's --output ends in {', '.join(KINDS)}")
    return KINDS[path.suffix.lower()]


class Film:
    """The repainted clip, written to the `path` as the video that the suffix of `output` names.

    H.264 wants sides that are even: an odd one gets its last row or column twice. Colours, pixels' shape, metadata and
    chapters are the clip's. Raises `InputError`, naming the `output`, for what cannot be written.
    """

    def __init__(self, path: Path, output: Path, clip: Clip, sound: Sound, chapters: bool = True) -> None:
        self.output, self.clip, self.kind = output, clip, kind_of(output)
        if self.kind.container == "webm" and clip.aspect != 1:
            raise InputError(f"{clip.name} has pixels of {clip.aspect}, and WebM only square ones: choose .mkv, say")
        options = {"avoid_negative_ts": "disabled"}  # Matroska would move all times by the sound's priming
        if self.kind.container in ("mp4", "mov"):
            options["movflags"] = "+faststart"
        self.container = av.open(
            str(path), "w", self.kind.container, container_options=options, metadata_errors="surrogateescape"
        )
        self.stream = self._picture()
        self.copies = {stream.index: self._copy_of(stream) for stream in sound.streams}
        ours = {key: value for key, value in clip.container.metadata.items() if key.lower() not in OF_THE_FILE}
        self.container.metadata.update(ours)
        if chapters:
            self.container.set_chapters(clip.container.chapters())
        self._durations: dict[int | None, int] = {}
        with self._naming():
            self._start(sound)

    def _picture(self) -> av.VideoStream:
        clip, multiple = self.clip, self.kind.multiple_px
        self.padding = ((0, -clip.height % multiple), (0, -clip.width % multiple), (0, 0))
        stream = self.container.add_stream(
            self.kind.codec,
            clip.rate,
            QUALITY[self.kind.codec],
            width=clip.width + self.padding[1][1],
            height=clip.height + self.padding[0][1],
            time_base=clip.time_base,
        )
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.sample_aspect_ratio = clip.aspect
        stream.codec_context.thread_type = "AUTO"  # type: ignore[assignment]
        clip.colours.tag(stream.codec_context)
        stream.metadata.update({k: v for k, v in clip.stream.metadata.items() if k in OF_THE_PICTURE})
        return stream

    def _copy_of(self, stream: av.AudioStream) -> av.AudioStream:
        try:
            copy = self.container.add_stream_from_template(stream)
        except ValueError:  # the container does not hold its codec, or nobody here knows it
            raise self._refusal(stream) from None
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        return copy

    def _start(self, sound: Sound) -> None:
        try:
            self.container.start_encoding()
        except av.ArgumentError:  # so says QuickTime's muxer of a codec
            if not sound.streams:
                raise
            raise self._refusal(*sound.streams) from None

    def _refusal(self, *sound: av.AudioStream) -> InputError:
        names = ", ".join(stream.codec_context.name if stream.codec_context else "unknown" for stream in sound)
        return InputError(f"{self.output.suffix} cannot hold the sound of {self.clip.name} ({names}): try .mkv")

    def write(self, pixels: NDArray[np.uint8], frame: Frame) -> None:
        """The next frame: repainted `pixels`, (h, w, 3), at the time of the clip's `frame`."""
        shown = self.clip.colours.to_yuv(np.pad(pixels, self.padding, mode="edge"))
        shown.pts, shown.time_base = frame.start, self.clip.time_base
        self._durations[frame.start] = frame.duration
        self._encode(shown)

    def copy(self, packets: Iterable[av.Packet]) -> None:
        """The sound's next packets."""
        with self._naming():
            for packet in packets:
                packet.stream = self.copies[packet.stream.index]
                self.container.mux(packet)

    def close(self) -> None:
        """The end of the file. Left open, it is no video."""
        self._encode(None)
        with self._naming():
            self.container.close()

    def _encode(self, frame: av.VideoFrame | None) -> None:
        with self._naming():
            for packet in self.stream.encode(frame):
                packet.duration = self._durations.pop(packet.pts, packet.duration)
                self.container.mux(packet)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise InputError(f"cannot write {self.output}: {error.strerror}") from None
