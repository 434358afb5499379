import type { BundleInfo, Embedded, EngineOptions, Film, Prompt, Result, SelfCheck } from "./types";

/** The engine in a Web Worker: the page stays quick while a film is read and segmented. */
export class EngineClient {
  private constructor(readonly info: BundleInfo) {}

  /** Start a worker and open the bundle in the folder at `bundleUrl` (which ends in "/"). */
  static async open(bundleUrl: string, options: EngineOptions = {}): Promise<EngineClient> {
    throw new Error(`not written yet: ${bundleUrl} ${options.threads}`);
  }

  async readFilm(bytes: Uint8Array, name: string): Promise<Film> {
    throw new Error(`not written yet: ${name} ${bytes.length}`);
  }

  async embed(film: Film): Promise<Embedded> {
    throw new Error(`not written yet: ${film.format}`);
  }

  async decode(embedded: Embedded, prompt: Prompt = {}): Promise<Result> {
    throw new Error(`not written yet: ${embedded.dims} ${prompt.box}`);
  }

  async segment(film: Film, prompt: Prompt = {}): Promise<Result> {
    throw new Error(`not written yet: ${film.format} ${prompt.box}`);
  }

  async selfCheck(): Promise<SelfCheck> {
    throw new Error("not written yet");
  }

  /** End the worker; what it was doing is refused. */
  close(): void {}
}
