/** What the page and its worker say to each other. */

import type { BundleInfo, Embedded, EngineOptions, Film, Prompt, Result, SelfCheck } from "./types";

/** The calls, by name: what they take and what they give. */
export interface Calls {
  open: { takes: [url: string, options: EngineOptions]; gives: BundleInfo };
  readFilm: { takes: [bytes: Uint8Array, name: string]; gives: Film };
  embed: { takes: [film: Film]; gives: Embedded };
  decode: { takes: [embedded: Embedded, prompt: Prompt]; gives: Result };
  segment: { takes: [film: Film, prompt: Prompt]; gives: Result };
  selfCheck: { takes: []; gives: SelfCheck };
}

export interface Question<K extends keyof Calls = keyof Calls> {
  id: number;
  call: K;
  args: Calls[K]["takes"];
}

export interface Answer {
  id: number;
  value?: unknown;
  error?: { name: string; message: string };
}
