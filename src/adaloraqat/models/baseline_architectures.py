"""The configs of the baselines that take no prompt, without weights and without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from adaloraqat.errors import RecipeError


@dataclass(frozen=True)
class PromptFreeArchitecture:
    """What every prompt-free network has; the families below add their own fields.

    Attributes:
        image_size: side S of the square model image, px.
        channels: channels C of the model image.

    Raises:
        RecipeError: a value is of the wrong kind, or the config is inconsistent.
    """

    family: ClassVar[str] = ""
    multiple: ClassVar[int] = 32
    """S is a multiple of this, so that every halving of the network comes out even."""

    image_size: int = 256
    channels: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))
        if self.image_size % self.multiple:
            raise RecipeError(
                f"The architecture's image_size {self.image_size} is not a multiple of {self.multiple}, as a "
                f"{self.family} needs it: choose one that is."
            )
        self._check()

    def _check(self) -> None:
        """Raise `RecipeError` where the family's own fields do not fit together."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, `family` among them; `from_dict` reads them back."""
        values = asdict(self)
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return {"family": self.family, **values, **lists}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s form; a key left out takes its default.

        Raises:
            RecipeError: a key is unknown, or the config is inconsistent.
        """
        known = [field.name for field in fields(cls)]
        given = {str(key): value for key, value in values.items() if key != "family"}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise RecipeError(
                f"The architecture of a {cls.family} has no field {unknown[0]!r}: "
                f"use only family, {', '.join(known)}."
            )
        return cls(**given)


def _checked(name: str, value: Any) -> Any:
    """Return a positive integer, a positive number (`depth_multiplier`), or a tuple of positive integers."""
    if name == "depth_multiplier":
        good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        what = "a positive number"
    elif isinstance(value, list | tuple):
        good = bool(value) and all(type(part) is int and part > 0 for part in value)
        value, what = tuple(value), "positive whole numbers"
    else:
        good, what = type(value) is int and value > 0, "a positive whole number"
    if not good:
        raise RecipeError(f"The architecture's {name} cannot be {value!r}: give {what}.")
    return value


@dataclass(frozen=True)
class UNetArchitecture(PromptFreeArchitecture):
    """U-Net (Ronneberger et al. 2015) as MONAI's `BasicUNet`: two convolutions a level, four halvings.

    Attributes:
        features: widths of the five levels from fine to coarse, then of the last convolutions.
    """

    family: ClassVar[str] = "unet"
    multiple: ClassVar[int] = 16

    features: tuple[int, ...] = (16, 16, 32, 64, 128, 16)

    def _check(self) -> None:
        if not isinstance(self.features, tuple) or len(self.features) != 6:
            raise RecipeError("The architecture's features of a unet are six widths, such as "
                              "[16, 16, 32, 64, 128, 16].")  # fmt: skip


@dataclass(frozen=True)
class SegFormerArchitecture(PromptFreeArchitecture):
    """SegFormer (Xie et al. 2021): a hierarchical transformer of four stages and an all-MLP decoder.

    The defaults are the published B0's.

    Attributes:
        hidden_sizes: width of each stage.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        decoder_size: width of the decoder.
    """

    family: ClassVar[str] = "segformer"

    hidden_sizes: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    decoder_size: int = 256

    def _check(self) -> None:
        stages = (self.hidden_sizes, self.depths, self.heads)
        if not all(isinstance(values, tuple) and len(values) == 4 for values in stages):
            raise RecipeError(
                "The architecture of a segformer has four hidden_sizes, four depths, four heads."
            )
        for width, heads in zip(self.hidden_sizes, self.heads, strict=True):
            if width % heads:
                raise RecipeError(
                    f"The architecture's hidden size {width} is not a multiple of its {heads} heads: "
                    "choose one that is."
                )


@dataclass(frozen=True)
class DeepLabArchitecture(PromptFreeArchitecture):
    """DeepLabV3+ (Chen et al. 2018) on MobileNetV2, as transformers has it.

    Attributes:
        depth_multiplier: width of the network relative to MobileNetV2's.
        output_stride: by how much the deepest features are smaller than the image: 8, 16 or 32.
    """

    family: ClassVar[str] = "deeplab_v3_plus"

    depth_multiplier: float = 1.0
    output_stride: int = 16

    def _check(self) -> None:
        if self.output_stride not in (8, 16, 32):
            raise RecipeError(
                f"The architecture's output_stride cannot be {self.output_stride}: give 8, 16 or 32."
            )


UNET = UNetArchitecture()
"""A U-Net of half a million parameters, which two CPU cores can train."""

TINY_UNET = UNetArchitecture(features=(8, 8, 16, 32, 48, 8))
"""Below 100 thousand parameters: the yardstick that stands in every table."""

SEGFORMER = SegFormerArchitecture()
"""SegFormer-B0's config, for one channel."""

DEEPLAB_V3_PLUS = DeepLabArchitecture()
"""DeepLabV3+ on MobileNetV2 of full width, for one channel."""
