/**
 * The engine's interface: from a film's bytes to its mask, with the numbers that the Python package gives.
 */

export * from "./types";
export { readFilm } from "./read_film";
export { Segmenter } from "./segmenter";
export { EngineClient } from "./client";
export { selfCheck } from "./self_check";
export { unsupported } from "./support";
