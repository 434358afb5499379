"""The config of one Segment Anything model, without any weights and without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from adaloraqat.errors import RecipeError

if TYPE_CHECKING:
    from transformers import SamConfig

PUBLISHED_NORM_EPS = 1e-5
"""PyTorch's own epsilon of a layer norm, which segment-anything and what was made from it leave as it is."""

_DECODER_DOWNSAMPLE = 2  # cross attention of the decoder works at half its width (SAM, appendix A)


@dataclass(frozen=True)
class SamArchitecture:
    """What decides every tensor shape of a SAM (Kirillov et al. 2023, appendix A; ViT encoder after ViTDet).

    Attributes:
        image_size: side S of the square model image, px.
        patch_size: side of one patch, px; the embedding grid is g = S / patch_size.
        hidden_size: width of the encoder.
        num_layers: encoder blocks.
        num_heads: attention heads of each encoder block.
        window_size: side of the attention window, patches.
        global_attention_layers: indices (from 0) of the blocks that attend to the whole image.
        use_rel_pos: whether encoder attention adds decomposed relative positions.
        channels: channels C of the model image.
        prompt_dim: width D of embedding, prompt encoder and mask decoder.
        decoder_mlp_dim: hidden width of the decoder blocks' MLP.
        decoder_layers: two-way blocks of the mask decoder.
        decoder_heads: attention heads of the mask decoder.
        mask_input_channels: width of the dense (mask) prompt branch.
        num_multimask_outputs: masks beside the single-mask output.
        iou_head_depth: linear layers of the quality head.
        iou_head_hidden_dim: width of the quality head.
        mlp_dim: hidden width of the encoder blocks' MLP; 0 means four times `hidden_size`.
        decoder_norm_eps: what the layer norms of the decoder's blocks add to the variance: 1e-6 as in
            transformers, `PUBLISHED_NORM_EPS` in the code of Meta, MedSAM, LiteMedSAM and MobileSAM.

    Raises:
        RecipeError: the config is inconsistent.
    """

    image_size: int = 1024
    patch_size: int = 16
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    window_size: int = 14
    global_attention_layers: tuple[int, ...] = (2, 5, 8, 11)
    use_rel_pos: bool = True
    channels: int = 3
    prompt_dim: int = 256
    decoder_mlp_dim: int = 2048
    decoder_layers: int = 2
    decoder_heads: int = 8
    mask_input_channels: int = 16
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    mlp_dim: int = 0
    decoder_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        _check_types(self)
        object.__setattr__(self, "global_attention_layers", tuple(self.global_attention_layers))
        object.__setattr__(self, "mlp_dim", self.mlp_dim or 4 * self.hidden_size)
        _check_divisors(self)

    @property
    def grid(self) -> int:
        """Side g of the embedding, patches."""
        return self.image_size // self.patch_size

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and YAML can hold; `from_dict` reads them back."""
        values = asdict(self) | {"global_attention_layers": list(self.global_attention_layers)}
        return without_usual_eps(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SamArchitecture:
        """Read `to_dict`'s form; a key left out takes ViT-B's value.

        Raises:
            RecipeError: a key is unknown, or the config is inconsistent.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise RecipeError(
                f"The architecture has no field {unknown[0]!r}: use only {', '.join(sorted(known))}."
            )
        return cls(**values)

    def to_config(self) -> SamConfig:
        """Return the transformers configuration that builds exactly these shapes."""
        from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

        vision = SamVisionConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            window_size=self.window_size,
            global_attn_indexes=list(self.global_attention_layers),
            use_rel_pos=self.use_rel_pos,
            num_channels=self.channels,
            output_channels=self.prompt_dim,
            num_pos_feats=self.prompt_dim // 2,
        )
        # The constructor derives image_embedding_size from these two and ignores a value given for it.
        prompt = SamPromptEncoderConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            hidden_size=self.prompt_dim,
            mask_input_channels=self.mask_input_channels,
        )
        decoder = SamMaskDecoderConfig(
            hidden_size=self.prompt_dim,
            mlp_dim=self.decoder_mlp_dim,
            num_hidden_layers=self.decoder_layers,
            num_attention_heads=self.decoder_heads,
            num_multimask_outputs=self.num_multimask_outputs,
            iou_head_depth=self.iou_head_depth,
            iou_head_hidden_dim=self.iou_head_hidden_dim,
            layer_norm_eps=self.decoder_norm_eps,
        )
        return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)

    @classmethod
    def from_config(cls, config: SamConfig) -> SamArchitecture:
        """Read the config out of a transformers configuration.

        Raises:
            RecipeError: the config is inconsistent.
        """
        vision, prompt, decoder = (
            config.vision_config,
            config.prompt_encoder_config,
            config.mask_decoder_config,
        )
        return cls(
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            hidden_size=vision.hidden_size,
            num_layers=vision.num_hidden_layers,
            num_heads=vision.num_attention_heads,
            mlp_dim=vision.mlp_dim,
            window_size=vision.window_size,
            global_attention_layers=tuple(vision.global_attn_indexes),
            use_rel_pos=vision.use_rel_pos,
            channels=vision.num_channels,
            prompt_dim=vision.output_channels,
            decoder_mlp_dim=decoder.mlp_dim,
            decoder_layers=decoder.num_hidden_layers,
            decoder_heads=decoder.num_attention_heads,
            mask_input_channels=prompt.mask_input_channels,
            num_multimask_outputs=decoder.num_multimask_outputs,
            iou_head_depth=decoder.iou_head_depth,
            iou_head_hidden_dim=decoder.iou_head_hidden_dim,
            decoder_norm_eps=decoder.layer_norm_eps,
        )


def without_usual_eps(values: dict[str, Any]) -> dict[str, Any]:
    """Return an architecture's plain values, without a `decoder_norm_eps` that is the usual one.

    So what was written before the field existed, and what has no use for it, reads the same.
    """
    usual = SamArchitecture.decoder_norm_eps
    return {key: value for key, value in values.items() if (key, value) != ("decoder_norm_eps", usual)}


def is_norm_eps(value: object) -> bool:
    """Whether a layer norm can add `value` to a variance: a small positive number."""
    return isinstance(value, float) and 0 < value < 1


def _check_types(architecture: SamArchitecture) -> None:
    for field in fields(architecture):
        value = getattr(architecture, field.name)
        if field.name == "decoder_norm_eps":
            good = is_norm_eps(value)
        elif field.name == "global_attention_layers":
            good = isinstance(value, list | tuple) and all(type(index) is int for index in value)
        elif field.name == "use_rel_pos":
            good = isinstance(value, bool)
        else:
            good = type(value) is int and value >= (0 if field.name == "mlp_dim" else 1)
        if not good:
            raise RecipeError(f"The architecture's {field.name} cannot be {value!r}: give {field.type}.")


def _check_divisors(architecture: SamArchitecture) -> None:
    a = architecture
    for value, name, divisor, by in (
        (a.image_size, "image_size", a.patch_size, "patch_size"),
        (a.hidden_size, "hidden_size", a.num_heads, "num_heads"),
        (a.prompt_dim, "prompt_dim", 8, "8 (the decoder's upscaling)"),
        (a.prompt_dim, "prompt_dim", _DECODER_DOWNSAMPLE * a.decoder_heads, "twice decoder_heads"),
        (a.mask_input_channels, "mask_input_channels", 4, "4"),
    ):
        if value % divisor:
            raise RecipeError(
                f"The architecture's {name} {value} is not a multiple of {by}: choose one that is."
            )
    if any(not 0 <= index < a.num_layers for index in a.global_attention_layers):
        raise RecipeError(
            f"The architecture's global_attention_layers name blocks beyond num_layers {a.num_layers}: "
            "count from 0."
        )
    if a.iou_head_depth < 2:
        raise RecipeError("The architecture's iou_head_depth is below 2: the quality head needs two layers.")


VIT_B = SamArchitecture()
"""SAM ViT-B as published: 93.7 M parameters at 1024 px."""

VIT_L = SamArchitecture(
    hidden_size=1024, num_layers=24, num_heads=16, global_attention_layers=(5, 11, 17, 23)
)
"""SAM ViT-L as published: 312 M parameters at 1024 px."""

VIT_H = SamArchitecture(
    hidden_size=1280, num_layers=32, num_heads=16, global_attention_layers=(7, 15, 23, 31)
)
"""SAM ViT-H as published: 641 M parameters at 1024 px."""

SMALL = SamArchitecture(
    image_size=256,
    patch_size=8,
    hidden_size=192,
    num_layers=8,
    num_heads=6,
    window_size=8,
    global_attention_layers=(3, 7),
    use_rel_pos=False,
    channels=1,
    prompt_dim=128,
    decoder_mlp_dim=512,
    decoder_heads=8,
    mask_input_channels=16,
    iou_head_hidden_dim=128,
)
"""The member of the family that ships here: 256 px, one channel, runs on any CPU."""

TINY = SamArchitecture(
    image_size=64,
    patch_size=8,
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    window_size=4,
    global_attention_layers=(1,),
    use_rel_pos=False,
    channels=1,
    prompt_dim=32,
    decoder_mlp_dim=64,
    decoder_heads=4,
    mask_input_channels=8,
    iou_head_hidden_dim=32,
)
"""For tests: 64 px, two blocks, milliseconds."""
