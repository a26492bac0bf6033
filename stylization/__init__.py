"""Fast neural style transfer, and the norm that makes it work.

A generator (with a chosen norm) repaints content photographs; a frozen loss network looks at the result; an
objective compares what it sees with the content photograph and with one style image. The modules read in that
order: images, content, normalization, generators, loss_networks, objective, training. `load` gives a trained
generator as a function from pictures to pictures.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stylization.errors import InputError

if TYPE_CHECKING:
    from stylization.onnx_runtime import OnnxStylizer
    from stylization.stylizer import Stylizer

__all__ = ["InputError", "OnnxStylizer", "Stylizer", "load"]


def load(
    model: str | Path, device: str = "cpu", precision: Literal["float32", "bfloat16"] = "float32"
) -> "Stylizer | OnnxStylizer":
    """The stylizer in a model file, in the folder of a finished run, or in an exported .onnx. Raises `InputError`."""
    if Path(model).suffix == ".onnx":
        from stylization.onnx_runtime import OnnxStylizer

        if (device, precision) != ("cpu", "float32"):
            raise InputError(f"{model} runs on the CPU and in float32, not on {device} and in {precision}")
        return OnnxStylizer(model)
    from stylization import stylizer

    return stylizer.load(model, device, precision)


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, and may be missing where an exported model is applied.
    if name == "Stylizer":
        from stylization.stylizer import Stylizer

        return Stylizer
    if name == "OnnxStylizer":
        from stylization.onnx_runtime import OnnxStylizer

        return OnnxStylizer
    raise AttributeError(f"module 'stylization' has no attribute '{name}'")
