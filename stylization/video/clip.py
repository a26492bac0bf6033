"""Videos read: the frames as upright RGB with their times, and the packets of their sound."""

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from numpy.typing import NDArray

from stylization.errors import Damaged, InputError, warn
from stylization.images import formats
from stylization.video.colours import Colours

MISSING_S = Fraction(1, 2)  # a file that ends so long before it says it does has been cut


class Frame(NamedTuple):
    """An upright picture, (h, w, 3), and when it is shown, in units of its clip's `time_base`."""

    pixels: NDArray[np.uint8]
    start: int
    duration: int


class Clip:
    """A video file opened to be read once: iterating yields its frames.

    The rotation that its file asks for is applied to the frames, and so to `aspect`, the shape of a pixel. Raises
    `InputError` if the file holds no video, or a damaged one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.container = opened(name)
        streams = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams or streams[0].codec_context is None:
            raise InputError(f"{name} holds no video that can be read")
        self.stream = streams[0]
        self.stream.thread_type = "AUTO"  # type: ignore[assignment]
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise Damaged(f"{name} holds no frame of video: it is empty, or cut", "truncated")
        has_alpha = any(component.is_alpha for component in self._first.format.components)
        if has_alpha or self.stream.metadata.get("alpha_mode") == "1":  # VP9's transparency is a stream of its own
            warn(f"{name} is partly transparent, which is dropped")
        self.turns = Turns.of(self._first)
        self.colours = Colours.of(self._first, name)
        assert self.stream.time_base
        self.time_base = self.stream.time_base
        self.rate = self.stream.guessed_rate or Fraction(25)
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        self.aspect = 1 / aspect if self.turns.transpose else aspect
        sides = (self._first.width, self._first.height)
        self.width, self.height = reversed(sides) if self.turns.transpose else sides

    def __iter__(self) -> Iterator[Frame]:
        assert self._first
        width, height = self._first.width, self._first.height
        gap = max(1, round(1 / (self.rate * self.time_base)))
        previous = None
        for frame in itertools.chain([self._first], self._decoded):
            start = frame.pts
            if previous is not None:
                start = previous + gap if start is None else max(start, previous + 1)  # an encoder's times must rise
                gap = start - previous
            previous = start or 0
            yield Frame(self.turns(self.colours.to_rgb(frame, width, height)), previous, frame.duration or gap)

    def _decode(self) -> Iterator[av.VideoFrame]:
        num = 0
        try:
            for frame in self.container.decode(self.stream):
                if frame.is_corrupt:
                    raise self._damage(num, "the frame is corrupt")
                yield frame
                num += 1
        except av.FFmpegError as error:
            raise self._damage(num, error.strerror or "") from None

    def _damage(self, num: int, reason: str) -> Damaged:
        rest = f"; --preview {num} repaints what comes before" if num else ""
        return Damaged(f"{self.name} is damaged after {num} frames: {reason}{rest}", "corrupt")

    @cached_property
    def num_frames(self) -> int:
        """Found by reading the file through. Raises `InputError` if it ends before it should."""
        num, end = 0, Fraction(0)
        with naming_damage(self.name), opened(self.name) as container:
            for packet in filled(container.demux()):
                num += packet.stream.index == self.stream.index and not packet.is_discard
                end = max(end, start_of(packet) + (packet.duration or 0) * packet.time_base)
            stated = Fraction(container.duration or 0, av.time_base)  # in Matroska it may count from 0, not its start
        if end < stated - MISSING_S:
            raise Damaged(
                f"{self.name} is cut: it ends at {float(end):.1f} s of {float(stated):.1f} s; "
                f"--preview {num} repaints what is there",
                "truncated",
            )
        return num

    def left_out(self) -> list[str]:
        """The kinds of its streams that a film does not take over."""
        return [s.type for s in self.container.streams if s.type != "audio" and s.index != self.stream.index]


class Turns(NamedTuple):
    """How a frame is brought upright: transposed, then mirrored."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Turns":
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
        if matrix is None:
            return cls(False, False, False)
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]  # (x, y) is shown at (a x + c y, b x + d y)
        transpose = abs(int(b)) > abs(int(a))
        return cls(transpose, bool((c if transpose else a) < 0), bool((b if transpose else d) < 0))

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        upright = pixels.transpose(1, 0, 2) if self.transpose else pixels
        return upright[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


class Sound:
    """The audio packets of a video file, handed out as the picture gets on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.container = opened(name)
        self.streams = self.container.streams.audio
        self._packets = filled(self.container.demux(self.streams) if self.streams else iter(()))
        self._reached = {stream.index: Fraction(-(2**31)) for stream in self.streams}
        self._waiting: list[av.Packet] = []

    def before(self, end: Fraction | None) -> list[av.Packet]:
        """Those not yet handed out that begin before `end`, in seconds; None: all."""
        with naming_damage(self.name):
            while self._reached and (end is None or min(self._reached.values()) < end):
                packet = next(self._packets, None)
                if packet is None:
                    self._reached = {}
                else:
                    self._reached[packet.stream.index] = start_of(packet)
                    self._waiting.append(packet)
        due: list[av.Packet] = []
        later: list[av.Packet] = []
        for packet in self._waiting:
            (due if end is None or start_of(packet) < end else later).append(packet)
        self._waiting = later
        return due


def filled(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Without those that only tell a decoder of the end."""
    return (packet for packet in packets if packet.size)


def start_of(packet: av.Packet) -> Fraction:
    """In seconds."""
    start = packet.dts if packet.pts is None else packet.pts
    return (start or 0) * packet.time_base


def opened(name: str) -> InputContainer:
    # An absolute path, so that no part before a colon is taken for a protocol.
    place = name if name.startswith(("http://", "https://")) else str(Path(name).expanduser().absolute())
    with naming_damage(name):
        return av.open(
            place,
            metadata_errors="surrogateescape",
            container_options=formats.VIDEO_OPTIONS if place.startswith("/") else formats.REMOTE_VIDEO_OPTIONS,
        )


@contextlib.contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Tell what FFmpeg says against a file in one line."""
    try:
        yield
    except (av.error.InvalidDataError, av.ArgumentError) as error:
        raise Damaged(f"{name} is no video, or a damaged one: {error.strerror}", "corrupt") from None
    except av.FFmpegError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
