/** Opens models: one engine at a time, in its worker; says in a sentence what keeps it from working. */
import { EngineClient } from "../engine/client";
import { isOutOfMemory, unsupported } from "../engine/support";
import { announcement, bundle, check, modelName, models, obstacle, version } from "./state";
import type { Model } from "./types";

export type Engine = EngineClient;

let opened: Promise<Engine> | null = null;

/** Fetch the list of models and open the first; afterwards nothing is requested until another is chosen. */
export async function start(): Promise<void> {
  obstacle.value = unsupported() ?? null;
  if (obstacle.value) return;
  try {
    const answer = await fetch("./models.json");
    const document = (await answer.json()) as { version: string; default: string; models: Model[] };
    version.value = document.version;
    models.value = document.models;
    await openModel(document.default);
  } catch (error) {
    fail(error);
  }
}

/** Open a model in place of the one before; the self-check runs before the first film. */
export async function openModel(name: string): Promise<void> {
  modelName.value = name;
  bundle.value = null;
  check.value = null;
  obstacle.value = null;
  const before = opened;
  const next = openAfter(before, name);
  opened = next;
  try {
    const engine = await next;
    const found = await engine.selfCheck();
    if (opened !== next) return;
    check.value = found;
    bundle.value = engine.info;
    announcement.value = `${name} is ready. ${found.sentence}`;
  } catch (error) {
    if (opened === next) fail(error);
  }
}

async function openAfter(before: Promise<Engine> | null, name: string): Promise<Engine> {
  const engine = await before?.catch(() => null);
  engine?.close();
  return EngineClient.open(new URL(`./models/${encodeURIComponent(name)}/`, document.baseURI).href);
}

/** The engine, once its model is open. */
export async function engine(): Promise<Engine> {
  if (!opened) throw new Error("No model is open.");
  return opened;
}

function fail(error: unknown): void {
  opened = null;
  obstacle.value = sentence(error);
  announcement.value = obstacle.value;
}

/** What went wrong, for a person. Only the engine's own errors are sentences already. */
export function sentence(error: unknown): string {
  if (error instanceof Error && (error.name === "FilmError" || error.name === "BundleError")) return error.message;
  const told = error instanceof Error ? error.message : String(error);
  if (isOutOfMemory(error)) {
    return "There is not enough memory: close other pages and programs, or use a smaller film or model.";
  }
  return `Unexpected error (${told}): reload the page.`;
}
