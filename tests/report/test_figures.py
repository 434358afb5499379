"""Figures are drawn from the run's own lines, without a window and always alike."""

import xml.etree.ElementTree as ElementTree

from adaloraqat.report.figures import rank_map, training_curve

SVG = "{http://www.w3.org/2000/svg}svg"


def line(stage, step, dice, loss):
    return {
        "stage": stage,
        "step": step,
        "loss": None if loss is None else {"total": loss},
        "validation": {"dice_no_box": dice, "dice_box": dice},
    }


LINES = [
    line("stage1", 0, 0.7, None),
    line("stage1", 10, 0.9, 0.3),
    line("stage2", 0, 0.88, None),
    line("stage2", 5, 0.9, 0.2),
]


def test_the_curve_is_one_svg_and_the_same_each_time():
    first = training_curve(LINES, prunes=(5,))
    assert ElementTree.fromstring(first).tag == SVG
    assert first == training_curve(LINES, prunes=(5,))
    assert first != training_curve(LINES)


def test_the_rank_map_names_every_matrix():
    ranks = {f"vision_encoder.layers.{n}.attn.qkv.{p}": n + i for n in range(2) for i, p in enumerate("qkv")}
    first = rank_map(ranks, full=4)
    assert ElementTree.fromstring(first).tag == SVG
    assert first != rank_map(ranks | {"vision_encoder.layers.1.attn.qkv.v": 0}, full=4)


def test_the_rank_map_tells_the_blocks_of_a_stage_apart():
    blocks = [(1, 0), (1, 1), (2, 0)]
    ranks = {
        f"vision_encoder.layers.{stage}.blocks.{block}.attn.qkv.{letter}": 10 * stage + block
        for stage, block in blocks
        for letter in "qkv"
    }
    drawn = rank_map(ranks, full=40)
    for text in ("2.1", "2.2", "3.1", "10", "11", "20"):
        assert f"<!-- {text} -->" in drawn or f">{text}<" in drawn, text
