"""A video repainted: its times, sound, shape and colours are kept, frame after frame, or nothing is written."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURE
from numpy.typing import NDArray
from PIL import Image
from ranges import Server
from torch import Tensor

from stylization import InputError, cli, images, model_file, normalization
from stylization.stylizer import Stylizer, load
from stylization.video import SUFFIXES

av = pytest.importorskip("av")

from stylization.video.clip import Clip  # noqa: E402
from stylization.video.film import KINDS, QUALITY  # noqa: E402
from stylization.video.smoothing import Flicker, Smoothed, is_cut  # noqa: E402

Pixels = NDArray[np.uint8]
ROOT = Path(cli.__file__).parents[2]
TICK = Fraction(1, 12800)
LOSSLESS = {"libx264": {"crf": "0", "bf": "0"}, "libvpx-vp9": {"lossless": "1"}}


@pytest.fixture(scope="module")
def stylizer(model: Path) -> Stylizer:
    return load(model)


@pytest.fixture
def lossless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let differences be those of what is tested, not an encoder's."""
    for codec, options in LOSSLESS.items():
        monkeypatch.setitem(QUALITY, codec, options)


def scene(num: int = 12, width: int = 64, height: int = 48, seed: int = 0) -> Pixels:
    """A camera that pans over a smooth picture: (num, height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(30, 226, (3, 4, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((width + 2 * num, height), Image.Resampling.BICUBIC))
    return np.stack([wide[:, 2 * i : 2 * i + width] for i in range(num)])


def write(
    path: Path,
    frames: Pixels,
    codec: str = "libx264",
    sound: str | None = None,
    times: Sequence[int] | None = None,
    turned: tuple[int, bool] | None = None,
    aspect: Fraction = Fraction(1),  # of a pixel
    options: dict[str, str] | None = None,
) -> Path:
    """The frames as a video, by default of 25 a second."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a clip"
        _, height, width, _ = frames.shape
        picture = container.add_stream(codec, 25, options or {}, width=width, height=height, time_base=TICK)
        picture.codec_context.sample_aspect_ratio = aspect
        if turned:
            picture.set_display_rotation(*turned)
        audio = container.add_stream(sound, 48000) if sound else None
        if audio:
            audio.layout, audio.metadata["language"] = "mono", "fin"
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            frame.pts, frame.time_base = times[i] if times else 512 * i, TICK
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if audio:
            tone = np.sin(np.arange(1920 * len(frames), dtype=np.float32) / 20)[None]
            frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, 0
            context = audio.codec_context
            resampler = av.AudioResampler(context.format.name, "mono", 48000, frame_size=context.frame_size)
            for part in (*resampler.resample(frame), *resampler.resample(None), None):
                container.mux(audio.encode(part))
    return path


class Seen:
    """What a video file holds, by another way of reading than the one that is tested."""

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            self.duration, self.metadata = container.duration / 1e6, dict(container.metadata)
            stream = container.streams.video[0]
            self.codec, self.aspect = stream.codec_context.codec.canonical_name, stream.sample_aspect_ratio or 1
            decoded = list(container.decode(stream))
            self.languages = [audio.language for audio in container.streams.audio]
        self.first, self.times = decoded[0], [frame.time for frame in decoded]
        self.frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]).astype(int)
        self.tags = [self.first.colorspace, self.first.color_range, self.first.color_primaries, self.first.color_trc]
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(container.streams.audio) if packet.size]
        self.sound, self.sound_times = [bytes(p) for p in packets], [float(p.pts * p.time_base) for p in packets]


def apply(clip: Path, output: Path, model: Path, *options: str) -> Seen:
    cli.main(["apply", str(clip), "--model", str(model), "--output", str(output), "--strokes", "native", *options])
    return Seen(output)


@pytest.mark.parametrize(
    ("source", "codec", "sound", "suffix", "written"),
    [
        (".mp4", "libx264", "aac", ".mp4", "h264"),
        (".mov", "libx265", "aac", ".mov", "h264"),
        (".mkv", "libsvtav1", "libopus", ".mkv", "h264"),
        (".webm", "libvpx-vp9", "libopus", ".webm", "vp9"),
        (".mp4", "libx264", "aac", ".mkv", "h264"),
        (".mp4", "libx264", "libopus", ".webm", "vp9"),
    ],
)
def test_times_sound_and_metadata_are_kept(
    source: str, codec: str, sound: str, suffix: str, written: str, model: Path, tmp_path: Path
) -> None:
    clip = Seen(write(tmp_path / f"clip{source}", scene(), codec, sound))
    film = apply(tmp_path / f"clip{source}", tmp_path / f"film{suffix}", model)
    assert film.codec == written
    assert film.times == pytest.approx(clip.times, abs=1e-3)  # Matroska's clock ticks in milliseconds
    assert film.duration == pytest.approx(clip.duration, abs=0.025)  # where it does not know how long a packet lasts
    assert film.sound == clip.sound and len(clip.sound) > 20
    assert film.sound_times == pytest.approx(clip.sound_times, abs=1e-3)
    assert film.metadata["title"] == "a clip" and film.languages == ["fin"]
    assert np.abs(film.frames - clip.frames).mean() > 10  # and it is repainted


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_variable_frame_rate_is_kept(suffix: str, model: Path, tmp_path: Path) -> None:
    times = [0, 512, 1024, 3072, 3200, 3840, 5120, 10240, 10368, 11520, 20480, 21760]
    clip = Seen(write(tmp_path / "clip.mp4", scene(), times=times, options={"bf": "0"}))
    film = apply(tmp_path / "clip.mp4", tmp_path / f"film{suffix}", model)
    assert clip.times == [float(tick * TICK) for tick in times]
    assert film.times == pytest.approx(clip.times, abs=1e-9 if suffix == ".mp4" else 1e-3)
    assert film.duration == pytest.approx(clip.duration, abs=1e-3)


def test_an_address_is_as_good_as_a_path(model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", scene(3), sound="aac")
    with Server(tmp_path) as server:
        cli.main(["apply", f"{server.url}clip.mp4", "--model", str(model), "--output", str(tmp_path / "film.mp4")])
    assert Seen(tmp_path / "film.mp4").sound == Seen(path).sound


def test_what_begins_late_is_not_taken_for_cut_and_begins_late(model: Path, tmp_path: Path) -> None:
    clip = Seen(write(tmp_path / "clip.mkv", scene(), times=[25600 + 512 * i for i in range(12)]))
    film = apply(tmp_path / "clip.mkv", tmp_path / "film.mkv", model)
    assert film.times == clip.times and film.times[0] == 2


def test_chapters_are_kept_and_what_is_left_out_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write(tmp_path / "plain.mkv", scene())
    with av.open(str(clip)) as source, av.open(str(tmp_path / "clip.mkv"), "w") as container:
        copied = container.add_stream_from_template(source.streams.video[0])
        chapter = {"id": 1, "start": 0, "end": 240, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}
        container.set_chapters([chapter])
        container.add_attachment("note.txt", "text/plain", b"a note")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copied
                container.mux(packet)
    apply(tmp_path / "clip.mkv", tmp_path / "film.mp4", model)
    assert capsys.readouterr().err == f"left out of {tmp_path / 'clip.mkv'}: attachment\n"
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert [chapter["metadata"]["title"] for chapter in film.chapters()] == ["one"]


@pytest.mark.usefixtures("lossless")
@pytest.mark.parametrize("turned", [(0, False), (90, False), (180, False), (270, False), (0, True), (90, True)])
def test_rotation_is_applied(turned: tuple[int, bool], model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", scene(4), turned=turned, aspect=Fraction(4, 3))
    film = apply(path, tmp_path / "film.mp4", model, "--strength", "0")
    upright = np.rot90(Seen(path).frames, turned[0] // 90, (1, 2))
    if turned[1]:
        upright = upright[:, :, ::-1]
    assert film.frames.shape == upright.shape
    assert np.abs(film.frames - upright).mean() < 4  # 4:2:0, there and back
    assert film.first.rotation == 0
    assert film.aspect == (Fraction(3, 4) if turned[0] in (90, 270) else Fraction(4, 3))


@pytest.mark.usefixtures("lossless")
def test_odd_sides_are_padded_for_h264_and_kept_for_vp9(model: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.webm", scene(4, 63, 47), "libvpx-vp9", options=LOSSLESS["libvpx-vp9"])
    given = Seen(clip).frames
    padded = apply(clip, tmp_path / "film.mp4", model, "--strength", "0").frames
    assert padded.shape == (4, 48, 64, 3)
    assert np.abs(padded[:, :47, :63] - given).mean() < 4
    assert np.abs(padded[:, 47] - padded[:, 46]).mean() < 1 and np.abs(padded[:, :, 63] - padded[:, :, 62]).mean() < 1
    assert apply(clip, tmp_path / "film.webm", model, "--strength", "0").frames.shape == given.shape


PATCHES = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 210], [230, 220, 40], [128, 128, 128], [12, 240, 240]])
LUMA = {1: (0.2126, 0.7152, 0.0722), 5: (0.299, 0.587, 0.114), 6: (0.299, 0.587, 0.114)}  # by the matrix's number


def to_yuv(rgb: NDArray[Any], matrix: int, full: bool) -> NDArray[Any]:
    """ITU-R BT.601 and BT.709, from 0..255 to 8 bits."""
    red, green, blue = LUMA[matrix]
    y = rgb @ np.array([red, green, blue])
    chroma = [(rgb[:, 2] - y) / (2 - 2 * blue), (rgb[:, 0] - y) / (2 - 2 * red)]
    scale, foot, chroma_scale = (1, 0, 1) if full else (219 / 255, 16, 224 / 255)
    return np.stack([y * scale + foot, *(c * chroma_scale + 128 for c in chroma)], 1).round()


def patches(path: Path, codec: str, matrix: int, full: bool, tagged: bool = True, height: int = 48) -> Path:
    """Squares of 16 px, written as YUV by the formula."""
    yuv = to_yuv(PATCHES, matrix, full).astype(np.uint8)
    planes = [
        np.repeat(np.tile(np.repeat(c, side), (height * side // 16, 1))[:, :], 1, 0)
        for c, side in zip(yuv.T, (16, 8, 8), strict=True)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25, LOSSLESS[codec], width=16 * len(PATCHES), height=height)
        context = stream.codec_context
        if tagged:
            context.colorspace, context.color_range = matrix, 2 if full else 1
            context.color_primaries = context.color_trc = 6 if matrix == 6 else 1
        flat = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, 16 * len(PATCHES))
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(flat, "yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 6])
def test_colours_are_what_they_were(codec: str, full: bool, matrix: int, model: Path, tmp_path: Path) -> None:
    suffix = ".mp4" if codec == "libx264" else ".webm"
    clip = patches(tmp_path / f"clip{suffix}", codec, matrix, full)
    seen = next(iter(Clip(str(clip)))).pixels[24, 8::16].astype(int)  # the middle of each patch
    assert np.abs(seen - PATCHES).max() <= 2
    film = apply(clip, tmp_path / f"film{suffix}", model, "--strength", "0")
    assert film.tags == Seen(clip).tags and film.tags[:2] == [matrix, 2 if full else 1]
    y, u, v = film.first.planes
    stored = [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[row, column : plane.width : step]
        for plane, row, column, step in ((y, 24, 8, 16), (u, 12, 4, 8), (v, 12, 4, 8))
    ]
    assert np.abs(np.stack(stored, 1).astype(int) - to_yuv(PATCHES, matrix, full)).max() <= 4


@pytest.mark.parametrize(("height", "matrix"), [(48, 6), (720, 1)])
def test_unstated_colours_are_taken_as_players_do_and_left_unstated(
    height: int, matrix: int, model: Path, tmp_path: Path
) -> None:
    clip = patches(tmp_path / "clip.mp4", "libx264", matrix, full=False, tagged=False, height=height)
    assert np.abs(next(iter(Clip(str(clip)))).pixels[24, 8::16].astype(int) - PATCHES).max() <= 2
    assert apply(clip, tmp_path / "film.mp4", model, "--strength", "0").tags == Seen(clip).tags


@pytest.mark.usefixtures("lossless")
@pytest.mark.parametrize("smooth", [[], ["--smooth", "0.7"]])
def test_batch_size_changes_nothing(smooth: list[str], model: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", np.concatenate([scene(7), scene(4, seed=5)]))
    whole = apply(clip, tmp_path / "whole.mp4", model, *smooth).frames
    for size in ("1", "3"):
        film = apply(clip, tmp_path / f"{size}.mp4", model, "--batch-size", size, *smooth).frames
        assert np.abs(film - whole).max() <= 2 and np.abs(film - whole).mean() < 0.01


@pytest.mark.usefixtures("lossless")
def test_options_are_those_of_pictures(model: Path, stylizer: Stylizer, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", scene(3), options=LOSSLESS["libx264"])
    mask = torch.zeros(48, 64)
    mask[:, 32:] = 1
    images.save(images.to_picture(mask.expand(3, -1, -1)), tmp_path / "mask.png")
    choices: list[tuple[list[str], dict[str, Any]]] = [
        (["--strength", "0.5"], {"strength": 0.5}),
        (["--keep-colors", "luminance"], {"keep_colors": "luminance"}),
        (["--scale", "2"], {"scale": 2.0}),
        (["--mask", str(tmp_path / "mask.png")], {"mask": mask}),
    ]
    given = [Image.fromarray(frame.pixels) for frame in Clip(str(clip))]
    for typed, options in choices:
        pictures = [np.asarray(stylizer(picture, strokes="native", **options)) for picture in given]
        expected = np.stack(pictures).astype(int)
        film = apply(clip, tmp_path / "film.mp4", model, *typed).frames
        blurred = [x.reshape(3, 12, 4, 16, 4, 3).mean((2, 4)) for x in (film, expected)]  # 4:2:0 blurs colours
        assert np.abs(blurred[0] - blurred[1]).mean() < 3, typed


def to_tensor(frames: Pixels) -> Tensor:
    return images.to_float(torch.from_numpy(frames).permute(0, 3, 1, 2))


def lamp(num: int = 24) -> Pixels:
    """A still picture with a lamp in a corner that goes on and off."""
    frames = np.repeat(scene(1), num, 0)
    frames[::2, :20, :24] = 255
    return frames


def flicker(stylizer: Stylizer, frames: Tensor, smooth: float) -> Flicker:
    meter = Flicker(partial(stylizer, strokes="native"), len(frames))
    meter.update(frames, Smoothed(stylizer, smooth)(frames, strokes="native"))
    return meter


def test_smoothing_lowers_the_flicker_of_what_a_part_of_the_picture_does_to_the_rest(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write(tmp_path / "clip.mp4", lamp(), options={"crf": "10"})
    plain = apply(clip, tmp_path / "plain.mp4", model)
    assert "flicker" not in capsys.readouterr().out
    smooth = apply(clip, tmp_path / "smooth.mp4", model, "--smooth", "0.9")
    told = capsys.readouterr().out.splitlines()[-1]
    before, after = (float(part.split()[0]) for part in told.removeprefix("flicker: ").split(", "))
    assert after < 0.8 * before
    changes = [np.abs(np.diff(film.frames[:, 30:, 40:], axis=0)).mean() for film in (plain, smooth)]
    assert changes[1] < 0.3 * changes[0]  # far from the lamp
    zero = apply(clip, tmp_path / "zero.mp4", model, "--smooth", "0")
    assert np.abs(zero.frames.astype(int) - plain.frames).mean() < 0.5  # the encoder's threads may differ in a bit


def test_an_exposure_that_pumps_is_what_instance_norm_does_not_see_until_it_is_smoothed(stylizer: Stylizer) -> None:
    exposure = 0.7 + 0.25 * (torch.arange(24) % 2).view(-1, 1, 1, 1)
    meter = flicker(stylizer, exposure * to_tensor(scene(1)), 0.9)
    assert meter.before < 0.05 < meter.after


def test_smoothing_begins_anew_at_a_cut(stylizer: Stylizer) -> None:
    first, second = to_tensor(scene(5)), to_tensor(scene(5, seed=3))
    both = torch.cat((first, second))
    assert [i for i in range(1, 10) if is_cut(both[i - 1], both[i])] == [5]

    def smoothed(frames: Tensor) -> Tensor:
        return Smoothed(stylizer, 0.9)(frames, strokes="native")

    whole = torch.cat([smoothed(both[:6])[:5], smoothed(both)[5:]])
    alone = torch.cat([smoothed(shot) for shot in (first, second)])
    assert torch.allclose(whole, alone, atol=1e-5)
    assert not is_cut(first[0], 0.3 * first[1])


def test_flicker_is_the_change_over_the_photographs_on_pairs_that_batches_do_not_move() -> None:
    frames = to_tensor(scene(40))
    whole, parts = (Flicker(lambda x: 3 * x, 40) for _ in range(2))
    whole.update(frames, 2 * frames)
    for part in frames.split(7):
        parts.update(part, 2 * part)
    assert (whole.before, whole.after, whole.num_pairs) == (pytest.approx(3), pytest.approx(2), 4)
    assert torch.allclose(whole.changes, parts.changes)


def test_a_model_of_batch_statistics_paints_each_frame_alone_and_one_of_running_ones_is_not_smoothed(
    model: Path, tmp_path: Path
) -> None:
    clip = write(tmp_path / "clip.mp4", scene())
    films = []
    for statistics in ("instance", "batch"):
        norm = {"_target_": "stylization.normalization.Norm", "statistics": statistics}
        model_file.write(tmp_path / "model.safetensors", load(model).generator, ARCHITECTURE | {"norm": norm}, {})
        films.append(apply(clip, tmp_path / "film.mp4", tmp_path / "model.safetensors").frames)
    assert np.abs(films[0] - films[1]).max() <= 2
    norm = {"_target_": "stylization.normalization.Norm", "statistics": "running"}
    model_file.write(tmp_path / "model.safetensors", load(model).generator, ARCHITECTURE | {"norm": norm}, {})
    with pytest.raises(SystemExit):
        apply(clip, tmp_path / "film.mp4", tmp_path / "model.safetensors", "--smooth", "0.5")


def test_preview_ends_picture_and_sound_together(model: Path, tmp_path: Path) -> None:
    clip = Seen(write(tmp_path / "clip.mp4", scene(30), sound="aac"))
    film = apply(tmp_path / "clip.mp4", tmp_path / "film.mp4", model, "--preview", "10", "--batch-size", "4")
    assert film.times == clip.times[:10]
    assert film.sound == [packet for packet, start in zip(clip.sound, clip.sound_times, strict=True) if start < 0.4]
    assert film.duration == pytest.approx(0.4, abs=0.022)  # a packet of sound lasts 21 ms


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_interrupted_half_way_leaves_nothing_under_the_final_name(
    number: signal.Signals, model: Path, tmp_path: Path
) -> None:
    clip = write(tmp_path / "clip.mp4", scene(400, 320, 240), options={"preset": "ultrafast"})
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "stylization.cli", "apply", str(clip), "--model", str(model)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--output", str(tmp_path / "out" / "film.mp4")], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while not any(path.stat().st_size for path in (tmp_path / "out").iterdir()):  # the encoder has begun
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert "film.mp4" not in left and "Traceback" not in errors
    if number != signal.SIGKILL:
        assert left == [] and process.returncode == 128 + number


def test_a_full_disk_is_told_in_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write(tmp_path / "clip.mp4", scene(12, 320, 240))
    (tmp_path / "out").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(SystemExit) as stopped:
            apply(clip, tmp_path / "out" / "film.mp4", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and errors.count("\n") == 1 and "film.mp4: File too large" in errors
    assert not list((tmp_path / "out").iterdir())


def without_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", 48000)
        audio.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux([*audio.encode(frame), *audio.encode(None)])


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips to be refused, and good ones."""
    folder = tmp_path_factory.mktemp("bad")
    whole = write(folder / "clip.mp4", scene(30), sound="aac").read_bytes()
    write(folder / "wide.mp4", scene(3), aspect=Fraction(4, 3))
    write(folder / "opus.webm", scene(3), "libvpx-vp9", "libopus")
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    with_cues = write(folder / "whole.mkv", scene(60)).read_bytes()
    (folder / "cut.mkv").write_bytes(with_cues[: len(with_cues) // 2])
    spoilt = bytearray(whole)
    with av.open(str(folder / "clip.mp4")) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        spoilt[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    (folder / "spoilt.mp4").write_bytes(spoilt)
    without_video(folder / "sound.mp4")
    Image.new("RGB", (64, 48)).save(folder / "photo.png")
    return folder


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("nowhere.mp4 film.mp4", "cannot read"),
        ("text.mp4 film.mp4", "is no video, or a damaged one"),
        ("empty.mp4 film.mp4", "is no video, or a damaged one"),
        ("headless.mp4 film.mp4", "is no video, or a damaged one"),
        ("cut.mkv film.mp4", "is cut: it ends at"),
        ("spoilt.mp4 film.mp4", "is damaged after"),
        ("sound.mp4 film.mp4", "holds no video"),
        ("clip.mp4 film.avi", "a video's --output ends in .mp4, .mov, .mkv, .webm"),
        ("clip.mp4 film", "a video's --output ends in"),
        ("clip.mp4 photo.png/film.mp4", "cannot write"),
        ("clip.mp4 film.webm", ".webm cannot hold the sound of"),
        ("opus.webm film.mov", ".mov cannot hold the sound of"),
        ("wide.mp4 film.webm", "has pixels of 4/3, and WebM only square ones"),
        ("clip.mp4 film.mp4 --batch-size 0", "--batch-size must be 1 at least"),
        ("clip.mp4 film.mp4 --preview 0", "--preview must be 1 at least"),
        ("clip.mp4 film.mp4 --smooth 1.5", "--smooth 1.5: must be from 0 to 1"),
        ("clip.mp4 film.mp4 --strength 2", "strength=2: must be from 0 to 1"),
        ("clip.mp4 film.mp4 --mask photo.png --smooth 0.5", "no --smooth"),
        ("clip.mp4 film.mp4 whole.mkv", "one video at a time"),
        ("photo.png film.png --smooth 0.5", "--smooth is for videos"),
        ("photo.png film.png --preview 3", "--preview is for videos"),
        ("photo.png film.png --batch-size 3", "--batch-size is for videos"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    typed: str,
    told: str,
    bad: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(bad)
    clip, output, *options = typed.split()
    parent = bad if "/" in output else tmp_path
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            ["apply", clip, *options, "--strokes", "native", "--model", str(model), "--output", str(parent / output)]
        )
    errors = capsys.readouterr().err
    status = 1 if any(words in told for words in ("damaged", "is cut", "holds no frame")) else 2
    assert stopped.value.code == status and told in errors and errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_pyav_a_video_is_refused_and_a_picture_is_not(
    bad: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["apply", str(bad / "clip.mp4"), "--model", str(model), "--output", str(tmp_path / "film.mp4")])
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and "videos need PyAV" in errors and errors.count("\n") == 1
    cli.main(["apply", str(bad / "photo.png"), "--model", str(model), "--output", str(tmp_path / "film.png")])
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]


def test_what_is_read_is_what_can_be_written() -> None:
    assert tuple(KINDS) == SUFFIXES
    with pytest.raises(InputError, match="cannot read"):
        Clip("nowhere.mp4")


@pytest.mark.slow
def test_ten_seconds_of_720p(model: Path, tmp_path: Path) -> None:
    clip = Seen(write(tmp_path / "clip.mp4", scene(250, 1280, 720), sound="aac"))
    film = apply(tmp_path / "clip.mp4", tmp_path / "film.mp4", model)
    assert (film.times, film.duration, film.sound) == (clip.times, clip.duration, clip.sound)
    assert film.frames.shape == clip.frames.shape and len(film.frames) == 250


def test_a_morph_goes_from_one_style_to_another(tmp_path: Path, lossless: None) -> None:
    path = tmp_path / "several.safetensors"
    norm = {"_target_": "stylization.normalization.Conditional", "num_styles": 2}
    torch.manual_seed(0)
    generator = model_file.build(ARCHITECTURE | {"norm": norm})
    for each in normalization.norms(generator):
        assert isinstance(each, normalization.Conditional)
        each.gamma.data += torch.randn_like(each.gamma)
        each.beta.data += torch.randn_like(each.beta)
    model_file.write(path, generator, ARCHITECTURE | {"norm": norm}, {"style": "a+b", "styles": ["a", "b"]})
    still = write(tmp_path / "clip.mp4", np.repeat(scene(1), 9, axis=0), options=LOSSLESS["libx264"])
    films = {
        words: apply(still, tmp_path / f"{number}.mp4", path, *words.split()).frames
        for number, words in enumerate(("--style a --morph b", "--style a", "--style b", "--style a=0.5,b=0.5"))
    }
    morph, first, last, middle = films.values()
    for frame, still_one in ((0, first), (4, middle), (8, last)):
        assert np.abs(morph[frame] - still_one[frame]).max() <= 2
    changes = np.abs(np.diff(morph, axis=0)).mean(axis=(1, 2, 3))
    assert (changes > 0).all() and changes.max() < 0.5 * np.abs(first[0] - last[0]).mean()
    with pytest.raises(SystemExit) as left:
        cli.main(["apply", str(still), "--model", str(path), "--style", "a", "--morph", "c", "--output", "x.mp4"])
    assert left.value.code == 2
