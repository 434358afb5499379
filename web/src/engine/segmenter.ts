import { readDocument, readFile } from "./bundle";
import type { BundleDocument, Load } from "./bundle";
import { connectedComponents, enclosingBox, removeSmallComponents } from "./components";
import { expectedQuality } from "./expected_quality";
import { checkedBox, pointTokens } from "./geometry";
import type { Box, Tokens } from "./geometry";
import { extremes, roundHalfEven } from "./numeric";
import type { Grid } from "./numeric";
import { withRequiredInput } from "./onnx_inputs";
import { filmWarnings, isOtherView, maskWarnings, thumbnailOf } from "./plausibility";
import { Frame, preprocess } from "./preprocess";
import { configure, floats, integers, openGraph, run } from "./runtime";
import type { Graph } from "./runtime";
import { structuresOf, withoutView } from "./structures";
import { checkSupport } from "./support";
import { BundleError, FilmError } from "./types";
import type { BundleInfo, Embedded, EngineOptions, Film, Prompt, Result } from "./types";

interface Answer {
  logits: Grid; // (4g, 4g) over the model's square
  quality: number;
}

const STRUCTURES = "structures.onnx";
const LABELS = "labels"; // the input that says what each point is
const BOX_LABELS = BigInt64Array.of(2n, 3n);
const MIRRORED_LIMIT = 0.5;

/** A bundle ready to segment films: `bundle/segmenter.py`, in the browser. */
export class Segmenter {
  readonly info: BundleInfo;

  private constructor(
    private readonly document: BundleDocument,
    private readonly encoder: Graph,
    private readonly decoder: Graph,
    private readonly head?: Graph,
  ) {
    const { prompt, files } = document;
    this.info = {
      name: document.name,
      outlines: document.outlines,
      licence: document.licence,
      intendedUse: document.intended_use,
      imageSize: document.preprocessing.image_size,
      acceptsBox: prompt.accepts_box ?? true,
      acceptsPoints: "mask_prompt.onnx" in files,
      qualityTrained: prompt.quality_trained,
      document: document as unknown as Record<string, unknown>,
    };
  }

  /** Open a bundle whose files (`bundle.json`, `encoder.onnx`, ...) `load` gives by name. */
  static async open(load: Load, options: EngineOptions = {}): Promise<Segmenter> {
    checkSupport();
    configure(options);
    const document = await readDocument(load);
    const stored = document.precision.weight_range === "none";
    const graph = async (file: string): Promise<Graph> =>
      openGraph(await readFile(load, document, file), document.name, stored);
    const head = STRUCTURES in document.files ? await graph(STRUCTURES) : undefined;
    const decoder = withRequiredInput(new Uint8Array(await readFile(load, document, "decoder.onnx")), LABELS);
    const opened = await openGraph(decoder, document.name, stored);
    return new Segmenter(document, await graph("encoder.onnx"), opened, head);
  }

  /** Return the network's input (C, S, S) of a film, and its frame. */
  input(film: Film): { image: Float32Array; frame: Frame } {
    const pixels = { width: film.width, height: film.height, data: film.grey };
    return preprocess(this.document.preprocessing, pixels, film.aspect);
  }

  /** Preprocess and encode a film once, for any number of prompts. */
  async embed(film: Film): Promise<Embedded> {
    const started = performance.now();
    const { image, frame } = this.input(film);
    const { image_size: side, channels } = this.document.preprocessing;
    const { embedding } = await run(this.encoder, { image: floats(image, [1, channels, side, side]) });
    return {
      embedding: embedding.data,
      dims: [...embedding.dims],
      frame: { original: frame.original, resized: frame.resized, imageSize: frame.imageSize },
      thumbnail: thumbnailOf(film),
      spacing: film.spacing,
      told: film.told,
      notices: film.notices,
      warnings: film.warnings,
      seconds: (performance.now() - started) / 1000,
    };
  }

  /** Return the mask of an encoded film: of a box, of points, of both, or of the whole film. */
  async decode(embedded: Embedded, prompt: Prompt = {}): Promise<Result> {
    const started = performance.now();
    const frame = Frame.from(embedded.frame);
    const [height, width] = frame.original;
    const whole: Box = [0, 0, width, height];
    const points = prompt.points ?? [];
    if (prompt.box) this.checkBox();
    let box = prompt.box ? checkedBox(prompt.box, width, height) : whole;
    let source = prompt.box ? "given" : points.length > 0 ? "points" : "whole film";
    let answer: Answer;
    if (points.length > 0) {
      this.checkPoints();
      answer = await this.ask(embedded, pointTokens(frame, points, prompt.box ? box : undefined));
    } else {
      this.checkWhole(source);
      answer = await this.ask(embedded, { places: frame.toModel(box) });
      if (source === "whole film" && this.document.prompt.second_pass) {
        const closer = secondBox(answer.logits, frame);
        const again = closer && (await this.ask(embedded, { places: frame.toModel(closer) }));
        // a second look that finds nothing does not undo the first
        if (closer && again && onFilm(again.logits, frame).any) [answer, box, source] = [again, closer, "second pass"];
      }
    }
    return this.result(embedded, frame, answer, box, source, started);
  }

  async segment(film: Film, prompt: Prompt = {}): Promise<Result> {
    const embedded = await this.embed(film);
    const result = await this.decode(embedded, prompt);
    return { ...result, seconds: result.seconds + embedded.seconds };
  }

  private async ask(embedded: Embedded, { places, labels }: Tokens): Promise<Answer> {
    const inputs: Parameters<typeof run>[1] = {
      embedding: floats(embedded.embedding, embedded.dims),
      boxes: floats(places, [1, places.length]),
    };
    if (this.info.acceptsPoints) {
      const kinds = labels ?? BOX_LABELS;
      inputs[LABELS] = integers(kinds, [1, kinds.length]);
    }
    const { logits, quality } = await run(this.decoder, inputs);
    const side = logits.dims[logits.dims.length - 1];
    const grid = removeSmallComponents({ width: side, height: side, data: logits.data }, this.document.smallest_part ?? 0);
    const known = this.document.prompt.quality_trained && Number.isFinite(quality.data[0]);
    return { logits: grid, quality: known ? Math.min(1, Math.max(0, quality.data[0])) : NaN };
  }

  private async structures(embedded: Embedded, frame: Frame, mask: Uint8Array): Promise<ReturnType<typeof structuresOf> | undefined> {
    if (!this.head || !mask.includes(1)) return undefined;
    const { structures, mirrored } = await run(this.head, { embedding: floats(embedded.embedding, embedded.dims) });
    const answer = { planes: structures.data, side: structures.dims[structures.dims.length - 1], mirrored: mirrored.data[0] };
    const limit = this.document.structures?.mirrored_limit ?? MIRRORED_LIMIT;
    return structuresOf(mask, answer, frame, embedded.told?.rightEdge, limit, embedded.spacing);
  }

  private async result(embedded: Embedded, frame: Frame, answer: Answer, box: Box, source: string, started: number): Promise<Result> {
    const logits = frame.logitsToOriginal(answer.logits);
    const mask = new Uint8Array(logits.data.length);
    let areaPx = 0;
    for (let i = 0; i < mask.length; i++) {
      if (logits.data[i] > 0) {
        mask[i] = 1;
        areaPx++;
      }
    }
    const { thumbnail, told, spacing } = embedded;
    const pixels = { width: thumbnail.width, height: thumbnail.height, data: thumbnail.grey };
    const seen = { pixels, shape: frame.original, told };
    const given = source === "given" ? box : undefined;
    const asked = source === "given" || source === "points"; // for something that need not be a pair of lungs
    const found = asked ? undefined : await this.structures(embedded, frame, mask);
    const shown = { mask, logits: logits.data, predictedIou: answer.quality, lungs: found?.lungs, embedding: embedded.embedding };
    const model = this.document.quality;
    const expected: { quality: number; error?: number } = asked || !model ? { quality: answer.quality } : expectedQuality(model, shown);
    const ofFilm = filmWarnings(seen);
    const structures = found && isOtherView(ofFilm) ? withoutView(found.structures) : found?.structures;
    const doubts = maskWarnings(seen, thumbnail.step, logits, mask, expected.quality, given, expected.error);
    return {
      width: logits.width,
      height: logits.height,
      mask,
      quality: expected.quality,
      qualityError: expected.error,
      structures,
      box,
      boxSource: source,
      areaPx,
      areaMm2: spacing && areaPx * spacing.row * spacing.column,
      warnings: [...ofFilm, ...doubts, ...(found?.warnings ?? [])],
      notices: embedded.notices,
      seconds: (performance.now() - started) / 1000,
    };
  }

  private checkBox(): void {
    if (this.info.acceptsBox) return;
    throw new BundleError(`The model '${this.info.name}' does not take a box: leave it out, or choose another model.`);
  }

  private checkPoints(): void {
    if (this.info.acceptsPoints) return;
    throw new BundleError(`The model '${this.info.name}' does not take points or masks: give a box, or choose a model that takes them.`);
  }

  private checkWhole(source: string): void {
    if (source !== "whole film" || (this.document.prompt.automatic ?? "whole") === "whole") return;
    throw new FilmError(`The model '${this.info.name}' was not trained on whole films: give a box.`);
  }
}

/** Return the box, on the film, of the two largest connected parts of low-resolution logits. */
function secondBox(logits: Grid, frame: Frame): Box | undefined {
  const { width, height, inside } = onFilm(logits, frame);
  const components = connectedComponents(width, height, (cell) => inside[cell] === 1);
  if (components.length === 0) return undefined;
  const factor = frame.imageSize / logits.width;
  const cells = enclosingBox(components.slice(0, 2)).map((side) => Math.fround(side * factor));
  const [h, w] = frame.original;
  return checkedBox(frame.toOriginal(cells), w, h);
}

/** Return which logits are positive in a cell that has its centre on the film, not in the padding. */
function onFilm(logits: Grid, frame: Frame): { width: number; height: number; inside: Uint8Array; any: boolean } {
  const cells = logits.width / frame.imageSize;
  const [height, width] = frame.resized.map((side) => Math.max(1, roundHalfEven(side * cells)));
  const inside = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) inside[y * width + x] = logits.data[y * logits.width + x] > 0 ? 1 : 0;
  return { width, height, inside, any: extremes(inside)[1] === 1 };
}
