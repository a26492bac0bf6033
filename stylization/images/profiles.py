"""ICC profiles: which of them describe a picture's pixels, and how sRGB is brought into their colors."""

import io

import pyvips
from PIL import ImageCms

_BANDS = {"RGB": 3, "GRAY": 1, "CMYK": 4}
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def complaint(profile: bytes, num_bands: int) -> str | None:
    """Return why a profile does not describe a picture of so many bands (without alpha); None if it does."""
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = read.profile.xcolor_space.strip()
        if int.from_bytes(profile[:4], "big") > len(profile):
            return "its color profile is cut"
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return "its color profile is broken"
    if _BANDS.get(space) != num_bands:
        return f"its color profile is for {space or 'no'} pixels, not for its own"
    try:  # libvips would fall back on a profile of its own, and not say so
        ImageCms.buildTransform(read, ImageCms.createProfile("sRGB"), _MODES[space], "RGB")
    except ImageCms.PyCMSError:
        return "its color profile is broken"
    return None


def is_writable(profile: bytes) -> bool:
    """Return whether sRGB can be brought into the colors of an RGB profile: a scanner's may lack that direction."""
    try:
        from_srgb(pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb"), profile, 8).write_to_memory()
    except pyvips.Error:
        return False
    return True


def from_srgb(srgb: pyvips.Image, profile: bytes, depth: int) -> pyvips.Image:
    """Return an sRGB picture in the colors of an RGB profile, which is attached to it."""
    independent = srgb.icc_import(input_profile="srgb").copy()
    independent.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return independent.icc_export(depth=depth)
