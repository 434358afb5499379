import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, expect, test } from "vitest";

import { readFilm, Segmenter, selfCheck, unsupported } from "../src/engine/api";
import stored from "../src/engine/self_check.json";

const BUNDLE = join(import.meta.dirname, "../../packages/weights/src/adaloraqat_weights/lung-field-fast");

async function load(file: string): Promise<ArrayBuffer> {
  return new Uint8Array(await readFile(join(BUNDLE, file))).buffer;
}

const png = Uint8Array.from(Buffer.from(stored.png, "base64"));
let segmenter: Segmenter;

beforeAll(async () => {
  segmenter = await Segmenter.open(load);
}, 120_000);

test("node runs WebAssembly with SIMD", () => {
  expect(unsupported()).toBeUndefined();
});

test("the self-check passes", { timeout: 120_000 }, async () => {
  const { ok, sentence } = await selfCheck(segmenter);
  expect(sentence).toMatch(/^Self-check passed: (99|100)\.\d\d % of the phantom's pixels are as stored/);
  expect(ok).toBe(true);
});

test("the self-check fails where the mask is another", async () => {
  const other = Object.create(segmenter) as Segmenter;
  other.segment = async (film) => ({ ...(await segmenter.segment(film)), mask: new Uint8Array(film.grey.length) });
  const { ok, sentence } = await selfCheck(other);
  expect(sentence).toMatch(/^Self-check failed: only/);
  expect(ok).toBe(false);
}, 120_000);

test("one embedding answers many boxes, each like a call of its own", async () => {
  const film = await readFilm(png, "phantom.png");
  const embedded = await segmenter.embed(film);
  const box: [number, number, number, number] = [10, 10, 75, 140];
  const [first, again] = [await segmenter.decode(embedded, { box }), await segmenter.segment(film, { box })];
  expect(first.boxSource).toBe("given");
  expect(first.mask).toEqual(again.mask);
  expect(first.areaPx).toBeLessThan((await segmenter.decode(embedded)).areaPx);
}, 120_000);

test("what survives postMessage decodes as before", async () => {
  const embedded = await segmenter.embed(await readFilm(png, "phantom.png"));
  const [own, copied] = [await segmenter.decode(embedded), await segmenter.decode(structuredClone(embedded))];
  expect(copied.mask).toEqual(own.mask);
}, 120_000);

test("a model that knows no points refuses them", async () => {
  const embedded = await segmenter.embed(await readFilm(png, "phantom.png"));
  await expect(segmenter.decode(embedded, { points: [{ x: 50, y: 50, label: 1 }] })).rejects.toThrow(
    "The model 'lung-field-fast' does not take points or masks",
  );
}, 120_000);

test("a changed graph is refused", async () => {
  const changed = async (file: string): Promise<ArrayBuffer> => {
    const content = await load(file);
    if (file === "decoder.onnx") new Uint8Array(content)[1000] ^= 1;
    return content;
  };
  await expect(Segmenter.open(changed)).rejects.toThrow("its file decoder.onnx is not the one exported");
}, 120_000);
