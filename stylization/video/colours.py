"""Between a video's YUV and full-range RGB, by libswscale, with the matrix and the range that the video states."""

from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from stylization.errors import InputError

UNKNOWN, BT709 = 2, 1  # ITU-T H.273's numbers for a matrix; those that libswscale knows are:
MATRICES = {
    BT709: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
HD_PX = 720  # rows from which players take an unstated matrix for BT.709, below for BT.601
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


@dataclass
class Colours:
    """What a video says of its colours, in H.273's numbers. What it leaves unsaid is left unsaid of the film, too."""

    matrix: int
    range: int
    primaries: int
    transfer: int
    known: Colorspace
    _to_rgb: VideoReformatter = field(default_factory=VideoReformatter)
    _to_yuv: VideoReformatter = field(default_factory=VideoReformatter)

    @classmethod
    def of(cls, frame: av.VideoFrame, name: str) -> "Colours":
        matrix, limits = frame.colorspace, frame.color_range
        if frame.format.is_rgb:  # its own matrix is the identity; the film's will be
            matrix, limits = BT709, ColorRange.MPEG
        unstated = Colorspace.ITU709 if frame.height >= HD_PX else Colorspace.ITU601
        if matrix not in (UNKNOWN, *MATRICES):
            raise InputError(f"{name} has colours of a kind that cannot be read (matrix {matrix} of H.273)")
        return cls(matrix, limits, frame.color_primaries, frame.color_trc, MATRICES.get(matrix, unstated))

    def to_rgb(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        """The frame's pixels as (height, width, 3)."""
        source = {} if frame.format.is_rgb else {"src_colorspace": self.known, "src_color_range": self._stated_range}
        rgb = self._to_rgb.reformat(
            frame, width, height, "rgb24", interpolation=EXACT, dst_color_range=ColorRange.JPEG, **source
        )
        return np.asarray(rgb.to_ndarray(), np.uint8)

    def to_yuv(self, pixels: NDArray[np.uint8]) -> av.VideoFrame:
        """The (h, w, 3) pixels as a frame of 4:2:0."""
        frame = self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(pixels, "rgb24"),
            format="yuv420p",
            interpolation=EXACT,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=self.known,
            dst_color_range=self._stated_range,
        )
        self.tag(frame)
        return frame

    def tag(self, tagged: av.VideoFrame | av.VideoCodecContext) -> None:
        tagged.colorspace, tagged.color_range = self.matrix, self.range
        tagged.color_primaries, tagged.color_trc = self.primaries, self.transfer

    @property
    def _stated_range(self) -> ColorRange:
        return ColorRange.JPEG if self.range == ColorRange.JPEG else ColorRange.MPEG
