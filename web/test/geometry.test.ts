import { expect, test } from "vitest";

import { checkedBox, pointTokens } from "../src/engine/geometry";
import { Frame } from "../src/engine/preprocess";

test("a box is clipped to the film", () => {
  expect(checkedBox([-5, 10, 50, 90], 40, 80)).toEqual([0, 10, 40, 80]);
});

test.each([
  [[30, 10, 20, 40], "The box (30, 10, 20, 40) is inverted or empty: give x_min y_min x_max y_max in this order."],
  [[50, 10, 60, 40], "The box (50, 10, 60, 40) lies outside the film of 40 x 80 pixels: give pixels of the original film."],
  [[NaN, 10, 60, 40], "The box (NaN, 10, 60, 40) is not made of finite numbers: give x_min y_min x_max y_max in pixels."],
])("a bad box is refused: %j", (box, sentence) => {
  expect(() => checkedBox(box, 40, 80)).toThrow(sentence);
});

test("points come before the box's corners, and SAM's empty point stands in for a missing box", () => {
  const frame = Frame.of(80, 40, 160);
  const alone = pointTokens(frame, [{ x: 10, y: 20, label: 1 }], undefined);
  expect([...alone.places]).toEqual([20, 40, 0, 0]);
  expect([...(alone.labels ?? [])]).toEqual([1n, -1n]);
  const both = pointTokens(frame, [{ x: 10, y: 20, label: 0 }], [0, 0, 40, 80]);
  expect([...both.places]).toEqual([20, 40, 0, 0, 80, 160]);
  expect([...(both.labels ?? [])]).toEqual([0n, 2n, 3n]);
});

test("a point outside the film is refused", () => {
  expect(() => pointTokens(Frame.of(80, 40, 160), [{ x: 40, y: 0, label: 1 }], undefined)).toThrow(
    "The point (40, 0) lies outside the film of 40 x 80 pixels",
  );
});
