"""Pictures in and out: the only package that knows bytes, files, EXIF and colour profiles.

Between here and here, an image is a float RGB tensor in [0, 1], shaped (3, h, w) or (b, 3, h, w). What does not deal
in tensors works without PyTorch.
"""

from typing import TYPE_CHECKING, Any

from stylization.images.contact_sheet import Cell, contact_sheet, in_rows
from stylization.images.files import (
    check_output,
    check_suffix,
    is_hidden,
    is_picture,
    paired_paths,
    pictures_below,
)
from stylization.images.formats import HEAD_BYTES, SUFFIXES
from stylization.images.formats import PILLOW_FORMATS as UPLOAD_FORMATS
from stylization.images.masks import mask_shares, read_mask, resized_mask
from stylization.images.photographs import MAX_MEGAPIXELS, Photograph, as_image, quantized
from stylization.images.pictures import encoded, read, save, shrink, without_opacity
from stylization.images.resizing import enlarged, enlarged_pixels, resized, resized_pixels, to_16_bits
from stylization.images.uploads import Upload, check_upload, read_upload

if TYPE_CHECKING:
    from stylization.images.crops import ENOUGH, Encoded, square
    from stylization.images.tensors import to_float, to_picture, to_tensor, to_uint8

__all__ = [
    "ENOUGH",
    "HEAD_BYTES",
    "MAX_MEGAPIXELS",
    "SUFFIXES",
    "UPLOAD_FORMATS",
    "Cell",
    "Encoded",
    "Photograph",
    "Upload",
    "as_image",
    "check_output",
    "check_suffix",
    "check_upload",
    "contact_sheet",
    "encoded",
    "enlarged",
    "enlarged_pixels",
    "in_rows",
    "is_hidden",
    "is_picture",
    "mask_shares",
    "paired_paths",
    "pictures_below",
    "quantized",
    "read",
    "read_mask",
    "read_upload",
    "resized",
    "resized_mask",
    "resized_pixels",
    "save",
    "shrink",
    "square",
    "to_16_bits",
    "to_float",
    "to_picture",
    "to_tensor",
    "to_uint8",
    "without_opacity",
]


def __getattr__(name: str) -> Any:
    # An exported model is applied where there is no PyTorch.
    if name in ("to_float", "to_picture", "to_tensor", "to_uint8"):
        from stylization.images import tensors

        return getattr(tensors, name)
    if name in ("ENOUGH", "Encoded", "square"):
        from stylization.images import crops

        return getattr(crops, name)
    raise AttributeError(f"module 'stylization.images' has no attribute '{name}'")
