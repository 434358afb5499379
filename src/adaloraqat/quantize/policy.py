"""Which module gets which precision: ONE small table for training, calibration, conversion and export.

The `paper` table is AdaLoRA-QAT's stage 2 (arXiv 2604.01167): INT8, symmetric, per tensor, for the encoder's
linear layers other than qkv, the mask decoder and the prompt encoder; qkv with P, Λ and Q stays FP32. The
paper does not say how activations are quantised: unsigned 8 bits, asymmetric, per tensor, calibrated, is
ours. The `qmedsam` table is QMedSAM's (arXiv 2412.11186): W8A8 for every linear layer and convolution of
encoder and decoder, the decoder's attention products too; the prompt encoder stays in floating point.
The `reference` table is what the published code of AdaLoRA-QAT rounds, which is not what its paper says: the
encoder's linear layers other than qkv and those of the mask decoder, 83 in ViT-B, as Brevitas rounds them.
That code rounds no activation: `reference-weights` does not either, and stores the same integers.
The `w8` table is ours: every weight is stored as INT8, one scale an output channel and all 8 bits, and
multiplied in floating point. A file is as small as with integer arithmetic, and answers as FP32 does on
every CPU.
The `w8a8` table is ours too, for encoders with pretrained convolutions: every weight is stored as INT8, and
the products of attention blocks, neck and decoder, nearly all of the work, multiply integers. The other
convolutions multiply in floating point: with one range per tensor, their activations are what INT8 harms
(docs/quantisation.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank.adalora_layer import AdaptedQKV
from adaloraqat.models.attention import PRODUCTS, is_attention

WeightRange = Literal["portable", "full"]

WEIGHT_LIMITS: dict[str, int] = {"portable": 63, "full": 127}
"""Largest |q| of an int8 weight.

"portable" uses 7 of the 8 bits: two products of an unsigned 8-bit activation (at most 255) and such a weight
add up to 2 · 255 · 63 = 32,130 at most, which fits the 16-bit sums that CPUs without VNNI form. With "full"
they reach 64,770, saturate at 32,767, and the answer is silently wrong there.
"""


@dataclass(frozen=True)
class Precision:
    """How one module computes and is stored.

    Attributes:
        weights: "int8", "float16" (storage only; arithmetic stays float32) or "float32".
        per_channel: int8 only: one scale for each output row instead of one for the whole tensor.
        activations: int8 only: whether the layer's input is quantised too, so that the product is one of
            integers. False for tables, which are only looked up, and for weights that are stored as integers
            and multiplied in float32.
        outputs: int8 only: the layer stays a convolution, and its output is quantised too: without that, ONNX
            Runtime convolves in floating point.
        product: for a product of two activations, which has no weight.
        divide: int8 only: weights are divided by their scale and then rounded, as Brevitas does.
    """

    weights: Literal["int8", "float16", "float32"]
    per_channel: bool = False
    activations: bool = True
    outputs: bool = False
    product: bool = False
    divide: bool = False

    @property
    def integer(self) -> bool:
        """Whether the weights are stored as int8."""
        return self.weights == "int8"


PRECISIONS: dict[str, Precision] = {
    "int8 per tensor": Precision("int8"),
    "int8 per channel": Precision("int8", per_channel=True),
    "int8 convolution": Precision("int8", per_channel=True, outputs=True),
    "int8 product": Precision("int8", product=True),
    "int8 table": Precision("int8", activations=False),
    "int8 storage": Precision("int8", activations=False),
    "int8 storage per channel": Precision("int8", per_channel=True, activations=False),
    "float16 storage": Precision("float16"),
    "float32": Precision("float32"),
}
"""The precisions by the names that policies, `describe` and bundle.json use."""


@dataclass(frozen=True)
class PrecisionPolicy:
    """An ordered table from module-name pattern to precision; the first matching line decides.

    Attributes:
        name: what recipes and bundles call it.
        rules: (pattern, precision) pairs; a pattern is a shell-style wildcard on the module's qualified name
            (a table that is a bare parameter counts under its own name, e.g. `vision_encoder.pos_embed`).
            Modules that no line matches stay float32. The products of attention (`....attn.scores`,
            `....attn.mixture`) obey lines of "int8 product" and "float32" only, and layers no "int8 product".
        weight_range: "portable" (|q| ≤ 63, exact on every CPU) or "full" (|q| ≤ 127, for CPUs with VNNI).
        divide: weights are rounded after a division by their scale (`numerics.fake_quantize_weight`).

    Raises:
        RecipeError: an unknown precision or weight range.
    """

    name: str
    rules: tuple[tuple[str, str], ...] = ()
    weight_range: WeightRange = "portable"
    divide: bool = False

    def __post_init__(self) -> None:
        if self.weight_range not in WEIGHT_LIMITS:
            raise RecipeError(
                f"The weight range {self.weight_range!r} is unknown: use one of {', '.join(WEIGHT_LIMITS)}."
            )
        for pattern, precision in self.rules:
            if precision not in PRECISIONS:
                raise RecipeError(
                    f"The precision {precision!r} for {pattern!r} is unknown: "
                    f"use one of {', '.join(PRECISIONS)}."
                )

    @property
    def weight_limit(self) -> int:
        """Largest |q| of an int8 weight: 63 or 127."""
        return WEIGHT_LIMITS[self.weight_range]

    @property
    def quantizes(self) -> bool:
        """Whether any line asks for products of integers, which need ranges and a fitting CPU."""
        used = [PRECISIONS[precision] for _, precision in self.rules]
        return any(precision.integer and precision.activations for precision in used)

    def precision_of(self, module_name: str) -> str:
        """Return the name of the precision that the table gives to `module_name`."""
        of_product = module_name.rpartition(".")[2] in PRODUCTS
        for pattern, precision in self.rules:
            heeded = precision == "float32" or PRECISIONS[precision].product == of_product
            if heeded and fnmatchcase(module_name, pattern):
                return precision
        return "float32"

    def precision(self, name: str) -> Precision:
        """Return the precision called `name`, with this policy's way of rounding."""
        return replace(PRECISIONS[name], divide=self.divide)

    def describe(self, model: nn.Module) -> dict[str, str]:
        """Return {name: precision} for every layer and table of `model` that holds a matrix, in model order.

        Then follow the products of attention that are not float32. Works on the model before and after
        `prepare` alike.
        """
        layers = {name: self.precision_of(name) for name in weighted_names(model)}
        products = {name: self.precision_of(name) for name in product_names(model)}
        return layers | {name: kind for name, kind in products.items() if kind != "float32"}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and YAML; `from_dict` reads them back."""
        return {
            "name": self.name,
            "weight_range": self.weight_range,
            "rules": [list(rule) for rule in self.rules],
            **({"divide": True} if self.divide else {}),  # absent in whatever was stored before there was it
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PrecisionPolicy:
        """Read `to_dict`'s form.

        Raises:
            RecipeError: a key is missing or unknown, or a value is not acceptable.
        """
        try:
            rules = tuple((str(pattern), str(precision)) for pattern, precision in values["rules"])
            weight_range, divide = values.get("weight_range", "portable"), values.get("divide", False)
            return cls(values["name"], rules, weight_range, bool(divide))
        except (KeyError, TypeError, ValueError) as error:
            raise RecipeError(
                "A precision policy is malformed: it needs a name and rules, each a pattern and a precision."
            ) from error


_TABLE_PARAMETERS = ("pos_embed", "rel_pos_h", "rel_pos_w")
_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding, AdaptedQKV)


def weighted_names(model: nn.Module) -> list[str]:
    """Return the qualified names of all layers that hold a matrix and of all position tables, in model order.

    An `AdaptedQKV` is one layer: its base and adapters are not listed apart. Fourier frequencies are no
    entry: they always stay float32.
    """
    names: list[str] = []
    adapted: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(prefix) for prefix in adapted):
            continue
        if isinstance(module, _WEIGHTED):
            names.append(name)
            if isinstance(module, AdaptedQKV):
                adapted.append(f"{name}.")
        else:
            names += [f"{name}.{table}" for table in _TABLE_PARAMETERS if table in module._parameters]
    return names


def product_names(model: nn.Module) -> list[str]:
    """Return the qualified names of all products of attention, in model order, before and after `prepare`."""
    return [
        f"{name}.{product}"
        for name, module in model.named_modules()
        if is_attention(module)
        for product in PRODUCTS
    ]


_TABLES = (("*.pos_embed", "float16 storage"), ("*.rel_pos_?", "float16 storage"))

_SIXTEEN_BITS = (
    ("vision_encoder.patch_embed.projection", "float16 storage"),
    ("vision_encoder.*.c", "float16 storage"),
    ("vision_encoder.neck.conv*", "float16 storage"),
    *_TABLES,
)

_TOKENS = (("mask_decoder.iou_token", "float32"), ("mask_decoder.mask_tokens", "float32"))

_PAPER = (
    ("vision_encoder.layers.*.attn.qkv", "float32"),
    ("vision_encoder.layers.*.attn.proj", "int8 per tensor"),
    ("vision_encoder.layers.*.mlp.lin?", "int8 per tensor"),
    *_TOKENS,
    ("mask_decoder.*", "int8 per tensor"),
    ("prompt_encoder.mask_embed.conv?", "int8 per tensor"),
    ("prompt_encoder.*_embed*", "int8 table"),
    *_SIXTEEN_BITS,
)

_BLOCKS = (
    ("vision_encoder.layers.*.attn.qkv", "int8 per channel"),
    ("vision_encoder.layers.*.attn.proj", "int8 per channel"),
    ("vision_encoder.layers.*.mlp.lin?", "int8 per channel"),
)

_WHOLE_ENCODER = (
    *_BLOCKS,
    ("vision_encoder.*.c", "int8 convolution"),
    ("vision_encoder.neck.conv?", "int8 convolution"),
    ("vision_encoder.patch_embed.projection", "int8 per channel"),
)

_INT8 = (
    # Measured on TinyViT encoders: as integers the depthwise ones gain no time and those between stages
    # a twentieth of the encoder's (benchmarks/integer_parts.py); each of their outputs is one more
    # rounding, which makes two engines disagree on an edge (benchmarks/rounding_noise.py).
    ("vision_encoder.*.downsample.conv?.c", "float16 storage"),
    ("vision_encoder.*.conv2.c", "float16 storage"),
    ("vision_encoder.*.local_conv.c", "float16 storage"),
    # On the finest grid every rounding of an activation is seen in the outline, and little is computed.
    ("vision_encoder.fine.*", "float16 storage"),
    *_WHOLE_ENCODER,
    *_TOKENS,
    # Measured: as integer products the two upscalings make ONNX Runtime's decoder a fifth slower, and
    # attention's products gain nothing in either engine (benchmarks/integer_parts.py).
    ("mask_decoder.upscale_conv?", "float16 storage"),
    ("mask_decoder.*", "int8 per channel"),
    ("prompt_encoder.mask_embed.conv?", "float16 storage"),
    ("prompt_encoder.*_embed*", "float16 storage"),
    *_TABLES,
)

_QMEDSAM = (
    *_WHOLE_ENCODER,
    *_TOKENS,
    ("mask_decoder.*.scores", "int8 product"),
    ("mask_decoder.*.mixture", "int8 product"),
    ("mask_decoder.*", "int8 per channel"),
    *_TABLES,
)


_W8 = (
    *_TOKENS,
    ("prompt_encoder.*_embed*", "float16 storage"),
    *_TABLES,
    ("*", "int8 storage per channel"),
)


_W8A8 = (
    *_BLOCKS,
    ("vision_encoder.patch_embed.*", "int8 storage per channel"),
    ("vision_encoder.*.c", "int8 storage per channel"),
    ("vision_encoder.neck.conv?", "int8 convolution"),
    *_TOKENS,
    ("mask_decoder.upscale_conv?", "int8 storage per channel"),
    ("mask_decoder.*", "int8 per channel"),
    ("prompt_encoder.mask_embed.conv?", "int8 storage per channel"),
    ("prompt_encoder.*_embed*", "float16 storage"),
    *_TABLES,
)


def _reference(precision: str) -> tuple[tuple[str, str], ...]:
    return (
        ("vision_encoder.layers.*.attn.proj", precision),
        ("vision_encoder.layers.*.mlp.lin?", precision),
        *_TOKENS,
        ("mask_decoder.upscale_conv?", "float32"),
        ("mask_decoder.*", precision),
    )


POLICIES: dict[str, PrecisionPolicy] = {
    "fp32": PrecisionPolicy("fp32"),
    "paper": PrecisionPolicy("paper", _PAPER),
    "int8": PrecisionPolicy("int8", _INT8),
    "qmedsam": PrecisionPolicy("qmedsam", _QMEDSAM),
    "w8": PrecisionPolicy("w8", _W8, "full"),
    "w8a8": PrecisionPolicy("w8a8", _W8A8),
    "reference": PrecisionPolicy("reference", _reference("int8 per tensor"), "full", divide=True),
    "reference-weights": PrecisionPolicy(
        "reference-weights", _reference("int8 storage"), "full", divide=True
    ),
}
"""The shipped policies. Those that multiply in floats, and the reference, have the full weight range."""


def policy_named(name: str, weight_range: WeightRange | None = None) -> PrecisionPolicy:
    """Return the shipped policy `name` with the given weight range; None is the policy's own.

    Raises:
        RecipeError: there is no such policy or weight range.
    """
    if name not in POLICIES:
        raise RecipeError(f"There is no precision policy {name!r}: use one of {', '.join(POLICIES)}.")
    shipped = POLICIES[name]
    return shipped if weight_range is None else replace(shipped, weight_range=weight_range)


def per_precision(model: nn.Module, policy: PrecisionPolicy | None) -> dict[str, int]:
    """Return {precision: parameters} of a model, prepared or not; what no line names is float32.

    Adapters count apart from the matrix they adapt, as float32: exporting folds them into it.
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    counts: dict[str, int] = {}
    for name in weighted_names(model):
        precision = policy.precision_of(name) if policy is not None else "float32"
        counts[precision] = counts.get(precision, 0) + _size(model, name)
    counts["float32"] = counts.get("float32", 0) + total - sum(counts.values())
    return counts


def _size(model: nn.Module, name: str) -> int:
    owner, _, attribute = name.rpartition(".")
    found = getattr(model.get_submodule(owner), attribute)
    if isinstance(found, torch.Tensor):  # a position table; stored in 16 bits it is not a parameter any more
        return found.numel()
    weight = found.base.weight if hasattr(found, "base") else found.weight
    return int(weight.numel())
