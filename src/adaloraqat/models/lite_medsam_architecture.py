"""The config of one LiteMedSAM, without any weights and without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from typing import Any, ClassVar

from adaloraqat.errors import RecipeError
from adaloraqat.models.architecture import SamArchitecture, without_usual_eps

STAGES = 4
_PER_STAGE = ("embed_dims", "depths", "num_heads", "window_sizes")
_PATCH_STRIDES = (1, 4)


@dataclass(frozen=True)
class LiteMedSAMArchitecture:
    """What decides every tensor shape of a LiteMedSAM: a TinyViT encoder before SAM's prompts and decoder.

    The encoder is TinyViT (Wu et al. 2022) without its classifier, as MobileSAM and LiteMedSAM use it. Stage
    0 is convolutional (its entries in `num_heads` and `window_sizes` decide nothing); stages 1 to 3 attend
    within windows. A window that does not divide its stage's grid is padded with zeros right and bottom.

    Attributes:
        image_size: side S of the square model image, px.
        channels: channels C of the model image.
        embed_dims: width of each of the four stages.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_sizes: side of the attention window of each stage, tokens.
        patch_stride: 1: two 1×1 convolutions, stage 0 works on every pixel (LiteMedSAM); 4: two 3×3
            convolutions of stride 2 (TinyViT, MobileSAM).
        merge_strides: stride of the merging after stages 0, 1 and 2.
        fine_grid: whether the neck joins the output of stage 0 to that of stage 3, so that embedding and
            logits have the grid of stage 0, not that of stage 3 (`tiny_vit.FineGrid`). Ours, not published.
        mlp_ratio: hidden width of an MLP, in widths of its stage.
        expand_ratio: hidden width of a stage-0 block, in widths of its stage.
        prompt_dim: width D of embedding, prompt encoder and mask decoder.
        decoder_mlp_dim: hidden width of the decoder blocks' MLP.
        decoder_layers: two-way blocks of the mask decoder.
        decoder_heads: attention heads of the mask decoder.
        mask_input_channels: width of the dense (mask) prompt branch.
        num_multimask_outputs: masks beside the single-mask output.
        iou_head_depth: linear layers of the quality head.
        iou_head_hidden_dim: width of the quality head.
        decoder_norm_eps: as in `SamArchitecture`.

    Raises:
        RecipeError: the config is inconsistent.
    """

    family: ClassVar[str] = "lite_medsam"

    image_size: int = 256
    channels: int = 3
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    patch_stride: int = 1
    merge_strides: tuple[int, ...] = (2, 2, 1)
    fine_grid: bool = False
    mlp_ratio: int = 4
    expand_ratio: int = 4
    prompt_dim: int = 256
    decoder_mlp_dim: int = 2048
    decoder_layers: int = 2
    decoder_heads: int = 8
    mask_input_channels: int = 16
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    decoder_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        _check_types(self)
        for name in (*_PER_STAGE, "merge_strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_fit(self)
        self.prompt_and_decoder()  # refuses what their config refuses

    @property
    def total_stride(self) -> int:
        """Model pixels a cell of the embedding covers along a side."""
        return self.patch_stride if self.fine_grid else self.coarsest_stride

    @property
    def coarsest_stride(self) -> int:
        """Model pixels a token of stage 3 covers along a side."""
        return self.patch_stride * prod(self.merge_strides)

    @property
    def grid(self) -> int:
        """Side g of the embedding, cells."""
        return self.image_size // self.total_stride

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and YAML can hold; `from_dict` reads them back."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        if not self.fine_grid:
            del values["fine_grid"]  # as it was written before the field existed
        return {"family": self.family, **without_usual_eps(values)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LiteMedSAMArchitecture:
        """Read `to_dict`'s form; a key left out takes the published value.

        Raises:
            RecipeError: a key is unknown, or the config is inconsistent.
        """
        known = {field.name for field in fields(cls)}
        given = {str(key): value for key, value in values.items() if key != "family"}
        unknown = sorted(key for key in given if key not in known)
        if unknown:
            raise RecipeError(
                f"A LiteMedSAM architecture has no field {unknown[0]!r}: use only {', '.join(sorted(known))}."
            )
        if values.get("family", cls.family) != cls.family:
            raise RecipeError(
                f"The family {values['family']!r} is not {cls.family!r}: name the config of a LiteMedSAM."
            )
        return cls(**given)

    def prompt_and_decoder(self) -> SamArchitecture:
        """Return the SAM whose prompt encoder and mask decoder these are; its encoder means nothing."""
        return SamArchitecture(
            image_size=self.image_size,
            patch_size=self.total_stride,
            hidden_size=self.embed_dims[-1],
            num_layers=1,
            num_heads=1,
            global_attention_layers=(),
            use_rel_pos=False,
            channels=self.channels,
            prompt_dim=self.prompt_dim,
            decoder_mlp_dim=self.decoder_mlp_dim,
            decoder_layers=self.decoder_layers,
            decoder_heads=self.decoder_heads,
            mask_input_channels=self.mask_input_channels,
            num_multimask_outputs=self.num_multimask_outputs,
            iou_head_depth=self.iou_head_depth,
            iou_head_hidden_dim=self.iou_head_hidden_dim,
            decoder_norm_eps=self.decoder_norm_eps,
        )


def _check_types(architecture: LiteMedSAMArchitecture) -> None:
    for field in fields(architecture):
        value = getattr(architecture, field.name)
        if field.name == "decoder_norm_eps":
            continue  # checked with the decoder's config
        if field.name == "fine_grid":
            if not isinstance(value, bool):
                raise RecipeError(f"The architecture's fine_grid cannot be {value!r}: give true or false.")
            continue
        numbers = value if isinstance(value, list | tuple) else [value]
        length = STAGES if field.name in _PER_STAGE else STAGES - 1
        fits = len(numbers) == length if field.type.startswith("tuple") else numbers[0] is value
        if not fits or not all(type(number) is int and number >= 1 for number in numbers):
            wanted = f"{length} numbers of 1 or more" if field.type.startswith("tuple") else "1 or more"
            raise RecipeError(f"The architecture's {field.name} cannot be {value!r}: give {wanted}.")


def _check_fit(architecture: LiteMedSAMArchitecture) -> None:
    a = architecture
    if a.patch_stride not in _PATCH_STRIDES:
        raise RecipeError(f"The architecture's patch_stride cannot be {a.patch_stride}: give 1 or 4.")
    if a.image_size % a.coarsest_stride:
        raise RecipeError(
            f"The architecture's image_size {a.image_size} is not a multiple of {a.coarsest_stride}, the "
            "stride of its stages together: choose one that is."
        )
    if a.embed_dims[0] % 2:
        raise RecipeError("The first of the architecture's embed_dims is odd: choose an even width.")
    for width, heads in list(zip(a.embed_dims, a.num_heads, strict=True))[1:]:
        if width % heads:
            raise RecipeError(
                f"The architecture's width {width} does not divide into {heads} heads: change one of them."
            )


LITE_MEDSAM = LiteMedSAMArchitecture()
"""LiteMedSAM as published (QMedSAM, arXiv 2412.11186): 256 px, stages at 256, 128, 64 and 64, 9.8 M."""

MOBILE_SAM = replace(LITE_MEDSAM, image_size=1024, patch_stride=4)
"""MobileSAM as published: the same tensors but for the patch embedding, at 1024 px."""

LITE_MEDSAM_STRIDE4 = replace(
    LITE_MEDSAM, patch_stride=4, merge_strides=(2, 1, 1), window_sizes=(8, 8, 16, 8)
)
"""The fast one: 256 px, stages at 64, 32, 32 and 32, logits 128×128; no window needs padding."""

LITE_MEDSAM_SMALL = replace(
    LITE_MEDSAM_STRIDE4,
    channels=1,
    embed_dims=(32, 96, 160, 192),
    num_heads=(2, 3, 5, 6),
    window_sizes=(8, 8, 8, 16),
    prompt_dim=128,
    decoder_mlp_dim=512,
    iou_head_hidden_dim=128,
)
"""The base that ships here: one channel, 4.1 M, 30 matrices for stage 1."""

LITE_MEDSAM_SMALL_FINE = replace(LITE_MEDSAM_SMALL, fine_grid=True)
"""The same with an embedding of 64×64 cells and logits of 256×256: what the fast models that ship are."""

LITE_MEDSAM_TINY = LiteMedSAMArchitecture(
    image_size=64,
    channels=1,
    embed_dims=(16, 16, 32, 32),
    depths=(1, 1, 2, 1),
    num_heads=(1, 2, 2, 4),
    window_sizes=(3, 3, 4, 3),
    patch_stride=4,
    merge_strides=(2, 1, 1),
    prompt_dim=32,
    decoder_mlp_dim=64,
    decoder_heads=4,
    mask_input_channels=8,
    iou_head_hidden_dim=32,
)
"""For tests: 64 px, milliseconds; windows of 3 on a grid of 8 are padded, windows of 4 are not."""
