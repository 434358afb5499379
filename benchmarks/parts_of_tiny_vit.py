"""Patterns of module names: the kinds of convolution in a SAM's or a TinyViT's encoder."""

POINTWISE = ("*.blocks.*.conv1.c", "*.blocks.*.conv3.c")
DEPTHWISE = ("*.blocks.*.conv2.c", "*.local_conv.c")
DOWNSAMPLING = ("*.downsample.conv?.c",)
NECK = ("vision_encoder.neck.conv?",)
PATCHES = ("*.patch_embed.seq.?.c",)


def convolutions(*patterns: str) -> tuple[tuple[str, str], ...]:
    """Return rules of a precision policy that put these convolutions in integers."""
    return tuple((pattern, "int8 convolution") for pattern in patterns)


def floating(*patterns: str) -> tuple[tuple[str, str], ...]:
    """Return rules of a precision policy that leave these layers in floating point, stored in 16 bits."""
    return tuple((pattern, "float16 storage") for pattern in patterns)
