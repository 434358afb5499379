import type { BundleInfo, Embedded, EngineOptions, Film, Prompt, Result } from "./api";

/** A bundle ready to segment films. */
export class Segmenter {
  private constructor(readonly info: BundleInfo) {}

  /** Open a bundle whose files (`bundle.json`, `encoder.onnx`, ...) `load` gives by name. */
  static async open(load: (file: string) => Promise<ArrayBuffer>, options: EngineOptions = {}): Promise<Segmenter> {
    throw new Error(`not written yet: ${load.name} ${options.threads}`);
  }

  async embed(film: Film): Promise<Embedded> {
    throw new Error(`not written yet: ${film.format}`);
  }

  async decode(embedded: Embedded, prompt: Prompt = {}): Promise<Result> {
    throw new Error(`not written yet: ${embedded.dims} ${prompt.box}`);
  }

  async segment(film: Film, prompt: Prompt = {}): Promise<Result> {
    return this.decode(await this.embed(film), prompt);
  }
}
