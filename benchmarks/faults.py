"""Faults of the mathematics that a test must notice, each put in by hand: for `mutants.py`.

Most of them once passed the suite.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault: `before`, found once in `module`, becomes `after`; `tests` where the module's own do not reach."""

    name: str
    module: str
    before: str
    after: str
    tests: tuple[str, ...] = ()


_SEGMENTER = ("tests/bundle/test_segmenter.py",)
_STATISTICS = "tests/measure/statistics/"
_INTERVALS = (f"{_STATISTICS}test_studentised.py", f"{_STATISTICS}test_margin.py")

FAULTS = (
    Fault(
        "importance read after gradient clipping",
        "training/loop.py",
        """        self.hooks.after_backward()  # before clipping: importance is read from true gradients
        if schedule.clip_gradient is not None:
            clip_grad_norm_(parameters, schedule.clip_gradient)
""",
        """        if schedule.clip_gradient is not None:
            clip_grad_norm_(parameters, schedule.clip_gradient)
        self.hooks.after_backward()
""",
        ("tests/training/kinds/test_adalora.py",),
    ),
    Fault(
        "upper activation range frozen after the first batch",
        "quantize/fake_quantize.py",
        "self.high = high if self.high is None else torch.maximum(self.high, high)",
        "self.high = high if self.high is None else self.high",
    ),
    Fault(
        "lower activation range frozen after the first batch",
        "quantize/fake_quantize.py",
        "self.low = low if self.low is None else torch.minimum(self.low, low)",
        "self.low = low if self.low is None else self.low",
    ),
    Fault(
        "zero point floored",
        "quantize/numerics.py",
        "torch.clamp(torch.round(-low / scale), 0, ACTIVATION_LEVELS)",
        "torch.clamp(torch.floor(-low / scale), 0, ACTIVATION_LEVELS)",
    ),
    Fault(
        "right-hand padding not zeroed (portrait films)",
        "radiograph/preprocess.py",
        "            normalised[:, :, frame.resized[1] :] = 0\n",
        "",
    ),
    Fault(
        "padding below not zeroed (landscape films)",
        "radiograph/preprocess.py",
        "            normalised[:, frame.resized[0] :] = 0\n",
        "",
    ),
    Fault(
        "parity's 1 LSB taken from a layer's input",
        "quantize/fake_quantize.py",
        "            return float(self.output_quantizer.scale)\n        return observed_step(self.output_range)",
        "            return float(self.output_quantizer.scale)\n        return float(self.input_quantizer.scale)",
        ("tests/quantize/test_calibration.py",),
    ),
    Fault(
        "parity's 1 LSB of a product taken from its input",
        "quantize/fake_quantize.py",
        '"""Return 1 LSB of the output, (high - low) / 255 of what calibration saw."""\n        return observed_step(self.output_range)',
        '"""Return 1 LSB of the output, (high - low) / 255 of what calibration saw."""\n        return float(self.left_quantizer.scale)',
        ("tests/quantize/test_calibration.py",),
    ),
    Fault(
        "parity divided by the input's step",
        "export/layer_parity.py",
        "float(np.abs(expected.numpy() - found).max()) / layer.output_step()",
        "float(np.abs(expected.numpy() - found).max()) / float(next(layer.children()).scale)",
        ("tests/export/test_layer_parity.py",),
    ),
    Fault(
        "noise floor not shaken",
        "export/mask_parity.py",
        "return super().encode(image + signs)",
        "return super().encode(image)",
        ("tests/export/test_mask_parity.py",),
    ),
    Fault(
        "noise floor shaken in one direction",
        "export/mask_parity.py",
        "np.array([-NOISE, NOISE], np.float32)",
        "np.array([NOISE, NOISE], np.float32)",
        ("tests/export/test_mask_parity.py",),
    ),
    Fault(
        "left and right split without spacing",
        "measure/film_scores.py",
        "split_sides(prediction, labels, spacing), split_sides(truth, labels, spacing)",
        "split_sides(prediction, labels), split_sides(truth, labels)",
    ),
    Fault(
        "left and right: spacing of the mask's pixels alone",
        "measure/film_scores.py",
        "edge = np.argwhere(lung & ~_surrounded(lung)) * np.asarray(spacing)",
        "edge = np.argwhere(lung & ~_surrounded(lung)) * 1.0",
    ),
    Fault(
        "padding counted as lung in the second box",
        "bundle/proposer.py",
        "    components = connected_components(on_film(logits, frame))\n",
        "    components = connected_components(logits > 0)\n",
        _SEGMENTER,
    ),
    Fault(
        "an empty second pass kept",
        "bundle/segmenter.py",
        "if on_film(again, frame).any():",
        "if again.size:",
        _SEGMENTER,
    ),
    Fault(
        "a second pass kept that is empty but for the padding",
        "bundle/segmenter.py",
        "if on_film(again, frame).any():",
        "if (again > 0).any():",
        _SEGMENTER,
    ),
    Fault(
        "signed-rank test over films, patients ignored",
        "measure/statistics/compare.py",
        "signed_rank(list(gathered.means[:, 0]))",
        "signed_rank(list(differences[kept]))",
        (f"{_STATISTICS}test_compare.py",),
    ),
    Fault(
        "Holm over one comparison at a time",
        "measure/statistics/compare.py",
        "adjusted = iter(holm([p for p in p_values if p is not None]))",
        "adjusted = iter([holm([p])[0] for p in p_values if p is not None])",
        (f"{_STATISTICS}test_compare.py",),
    ),
    Fault(
        "Wilcoxon's rule for zeros instead of Pratt's",
        "measure/statistics/signed_rank.py",
        "    ranks = stats.rankdata(np.abs(values))\n",
        "    ranks = np.where(values == 0, 0.0, stats.rankdata(np.abs(values)) - zeros)\n",
        (f"{_STATISTICS}test_signed_rank.py",),
    ),
    Fault(
        "Wilcoxon's rule for zeros in samples beyond 50",
        "measure/statistics/signed_rank.py",
        'zero_method="pratt"',
        'zero_method="wilcox"',
        (f"{_STATISTICS}test_signed_rank.py",),
    ),
    Fault(
        "an interval whose ends are not turned round (percentiles of t* instead of its pivot)",
        "measure/statistics/studentised.py",
        """        low = self.mean - np.maximum(self.pivots[-place], student) * self.error
        high = self.mean - np.minimum(self.pivots[place - 1], -student) * self.error
""",
        """        low = self.mean + np.minimum(self.pivots[place - 1], -student) * self.error
        high = self.mean + np.maximum(self.pivots[-place], student) * self.error
""",
        _INTERVALS,
    ),
    Fault(
        "no correction for few patients",
        "measure/statistics/studentised.py",
        "return 1 - _LOST_PATIENTS / self.patients",
        "return 1.0",
        _INTERVALS,
    ),
    Fault(
        "an interval nearer than Student's t",
        "measure/statistics/studentised.py",
        "student = stats.t.ppf(0.5 + level / 2, self.patients - 1)",
        "student = 0.0",
        _INTERVALS,
    ),
)
