import { expect, test } from "vitest";

import { connectedComponents, removeSmallComponents } from "../src/engine/components";
import { percentiles, roundHalfEven } from "../src/engine/numeric";
import { resizeBilinear } from "../src/engine/resample";

test("percentiles are NumPy's", () => {
  const values = Float32Array.of(0.1, 0.9, 0.3, 0.7, 0.2);
  expect(percentiles(values, [0.5, 10, 62, 99.5])).toEqual([
    0.10200000151991845, 0.14000000208616256, 0.4920000004768371, 0.8959999763965607,
  ]);
});

test("halves are rounded to the even neighbour, as Python rounds them", () => {
  expect([0.5, 1.5, 2.5, -1.5, 2.4999].map(roundHalfEven)).toEqual([0, 2, 2, -2, 2]);
});

const picture = {
  width: 5,
  height: 3,
  data: Float32Array.of(0, 0.25, 1, 0.5, 0.125, 1, 0, 0.75, 0.5, 0.25, 0.3, 0.6, 0.9, 0.1, 0.7),
};

test("a reduction is Pillow's, to the bit", () => {
  const numbers = [0.28125, 0.6493055820465088, 0.3125, 0.4821428656578064, 0.6076388955116272, 0.4107142984867096];
  expect([...resizeBilinear(picture, 3, 2).data]).toEqual(numbers);
});

test("an enlarged part is Pillow's, to a rounding of float32", () => {
  const numbers = [
    [0.15000000596046448, 0.16562500596046448, 0.19687500596046448, 0.4000000059604645, 0.7749999761581421],
    [0.8468749523162842, 0.6156250238418579, 0.824999988079071, 0.65625, 0.3187499940395355],
    [0.30937501788139343, 0.628125011920929, 0.690625011920929, 0.49687501788139343],
  ].flat();
  const found = resizeBilinear(picture, 7, 2, [0, 0, 3.5, 2.25]).data;
  numbers.forEach((number, i) => expect(Math.abs(found[i] - number)).toBeLessThan(1e-7));
});

test("diagonal neighbours are two components, and the largest comes first", () => {
  const mask = [1, 0, 0, 0, 1, 1, 0, 1, 1];
  const found = connectedComponents(3, 3, (cell) => mask[cell] === 1);
  expect(found).toEqual([
    { area: 4, box: [1, 1, 3, 3] },
    { area: 1, box: [0, 0, 1, 1] },
  ]);
});

test("specks and pinholes are flipped and keep their magnitude; a bay stays", () => {
  const rows = ["#####.#", "#.###..", "###.#..", "###.#..", "###.#.."]; // speck, pinhole, and a bay from below
  const data = Float32Array.from(rows.join(""), (letter) => (letter === "#" ? 2 : -3));
  const cleaned = removeSmallComponents({ width: 7, height: 5, data }, 0.2).data;
  expect(cleaned[6]).toBe(-2);
  expect(cleaned[8]).toBe(3);
  expect(cleaned[17]).toBe(-3);
  expect(cleaned.filter((value, i) => value !== data[i]).length).toBe(2);
});
