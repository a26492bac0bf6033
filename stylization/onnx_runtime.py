"""An exported model, applied where there is no PyTorch."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylization import blending, images, onnx_graph
from stylization.blending import KeepColors, Strokes
from stylization.errors import InputError
from stylization.runs import checked_facts
from stylization.schema import parse_json

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Pixels = NDArray[np.float32]  # (3, h, w) or (b, 3, h, w) in [0, 1]


class OnnxStylizer:
    """`stylizer(image)` repaints a picture by an exported graph; what comes back is of the kind and size of what was
    given.

    Takes a PIL image or a uint8 array (h, w, 3), and the options of `Stylizer`, without its mask: a graph cannot be
    given the statistics of a region. `facts` is what the model file said of its training. Raises `InputError` for a
    file that is no exported model.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.session, self.facts = _opened(self.path)

    @overload
    def __call__(self, image: Image.Image, **options: Any) -> Image.Image: ...
    @overload
    def __call__(self, image: np.ndarray, **options: Any) -> np.ndarray: ...
    def __call__(self, image: Image.Image | np.ndarray, **options: Any) -> Image.Image | np.ndarray:
        if isinstance(image, Image.Image):
            return Image.fromarray(self(np.asarray(image.convert("RGB")), **options))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"an array must be uint8 (h, w, 3), this one is {image.dtype} {image.shape}")
        levels = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        return np.ascontiguousarray(images.quantized(self.stylize(levels, **options), 8).transpose(1, 2, 0))

    def stylize(
        self,
        x: Pixels,
        strength: float = 1.0,
        keep_colors: KeepColors | None = None,
        scale: float = 1.0,
        strokes: Strokes = "relative",
    ) -> Pixels:
        """A photograph (3, h, w) in [0, 1], repainted."""
        blending.check(strength, keep_colors, scale, strokes)
        size = blending.painted_size((x.shape[1], x.shape[2]), scale, strokes)
        small = images.resized_pixels(x, size)
        stylized = images.enlarged_pixels(self.paint(small[None])[0], small, x)
        blended: Pixels = blending.blended(x, stylized, strength, keep_colors)
        return blended

    def paint(self, photographs: Pixels) -> Pixels:
        """What the graph makes of (b, 3, h, w) in [0, 1]. Raises `InputError` where that is no picture of this size."""
        from onnxruntime.capi import onnxruntime_pybind11_state as refusals

        try:
            painted: Pixels = self.session.run(None, {"photograph": photographs})[0]
        except (refusals.Fail, refusals.InvalidArgument, refusals.RuntimeException, refusals.NotImplemented) as error:
            raise InputError(f"{self.path}: the graph fails: {str(error).strip().splitlines()[0]}") from None
        shape = getattr(painted, "shape", None)
        if shape != photographs.shape or painted.dtype != np.float32:
            raise InputError(f"{self.path}: the graph makes {shape} of a picture {photographs.shape}: export it anew")
        if not np.isfinite(painted).all():
            raise InputError(f"{self.path}: the graph makes numbers that are not finite")
        return painted


def _opened(path: Path) -> tuple["InferenceSession", dict[str, Any]]:
    if find_spec("onnxruntime") is None:
        raise InputError(f"{path} needs onnxruntime: pip install 'stylization[onnx]'")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as refusals

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it says in an exception what it would print
    damaged = InputError(f"{path} is cut, damaged or no ONNX model: `stylization export` makes one")
    if path.exists() and not path.is_file():
        raise damaged
    try:
        content = path.read_bytes()
        onnx_graph.check(content)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except FileNotFoundError:
        raise InputError(f"no model file at {path}") from None
    except onnx_graph.Unsupported as error:
        raise InputError(f"{path} is an ONNX model, but not one that `stylization export` made: {error}") from None
    except (
        *(
            OSError,
            UnicodeError,
            onnx_graph.Damaged,
            refusals.InvalidProtobuf,
            refusals.InvalidArgument,
            refusals.InvalidGraph,
        ),
        *(refusals.Fail, refusals.RuntimeException, refusals.NotImplemented, refusals.NoSuchFile),
    ):
        raise damaged from None
    return session, _facts(session, path)


def _facts(session: "InferenceSession", path: Path) -> dict[str, Any]:
    """What the model file said of its training; raises `InputError` for a graph of another kind."""
    foreign = InputError(f"{path} is an ONNX model, but not one that `stylization export` made")
    try:
        facts = session.get_modelmeta().custom_metadata_map.get("facts")
        inputs = [(given.name, given.type, given.shape) for given in session.get_inputs()]
        outputs = [(given.name, given.type, given.shape) for given in session.get_outputs()]
    except UnicodeError:
        raise foreign from None
    if facts is None or [name for name, _, _ in inputs] != ["photograph"] or len(outputs) != 1:
        raise foreign
    for name, kind, shape in (*inputs, *outputs):
        if kind != "tensor(float)" or (shape and len(shape) != 4):
            raise InputError(f"{path}: {name} is {kind} {shape}, not (batch, 3, height, width)")
    found = parse_json(facts, f"{path}: facts")
    checked_facts(found, f"{path}: facts")
    return found
