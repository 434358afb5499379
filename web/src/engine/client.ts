import type { Answer, Calls } from "./messages";
import { BundleError, FilmError } from "./types";
import type { BundleInfo, Embedded, EngineOptions, Film, Prompt, Result, SelfCheck } from "./types";

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: Error) => void;
}

/** The engine in a Web Worker: the page stays quick while a film is read and segmented. */
export class EngineClient {
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;
  private ended = false;
  info!: BundleInfo;

  private constructor(private readonly worker: Worker) {
    worker.onmessage = ({ data }: MessageEvent<Answer>): void => this.take(data);
    worker.onerror = (event): void => {
      event.preventDefault();
      this.fail(new BundleError("The engine stopped (out of memory, or a file of the page is missing): reload the page."));
    };
  }

  /** Start a worker and open the bundle in the folder at `bundleUrl` (which ends in "/"). */
  static async open(bundleUrl: string, options: EngineOptions = {}): Promise<EngineClient> {
    const client = new EngineClient(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
    try {
      client.info = await client.ask("open", [new URL(bundleUrl, document.baseURI).href, options]);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  readFilm(bytes: Uint8Array, name: string): Promise<Film> {
    return this.ask("readFilm", [bytes, name]);
  }

  embed(film: Film): Promise<Embedded> {
    return this.ask("embed", [film]);
  }

  decode(embedded: Embedded, prompt: Prompt = {}): Promise<Result> {
    return this.ask("decode", [embedded, prompt]);
  }

  segment(film: Film, prompt: Prompt = {}): Promise<Result> {
    return this.ask("segment", [film, prompt]);
  }

  selfCheck(): Promise<SelfCheck> {
    return this.ask("selfCheck", []);
  }

  /** End the worker; what it was asked and did not answer is refused. */
  close(): void {
    this.worker.terminate();
    this.fail(new BundleError("The engine was closed."));
  }

  private ask<K extends keyof Calls>(call: K, args: Calls[K]["takes"]): Promise<Calls[K]["gives"]> {
    if (this.ended) return Promise.reject(new BundleError("The engine has ended: reload the page."));
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, call, args });
    });
  }

  private take({ id, value, error }: Answer): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) waiting?.resolve(value as never);
    else waiting?.reject(revived(error));
  }

  private fail(error: Error): void {
    this.ended = true;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}

function revived({ name, message }: NonNullable<Answer["error"]>): Error {
  if (name === "FilmError") return new FilmError(message);
  return name === "BundleError" ? new BundleError(message) : new Error(message);
}
