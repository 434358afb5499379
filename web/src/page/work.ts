/** The work: films one after the other, and new answers where a person drew a box or a point. */
import type { Prompt, Structures } from "../engine/api";
import { pack } from "./bits";
import { engine, openModel, sentence } from "./engine";
import { usualWindow } from "./grey";
import { forget, forgetEmbeddings, keep, pixelsOf, type Pixels } from "./pixels";
import { announcement, asTable, bundle, chosen, films, obstacle, pane, update } from "./state";
import { thumbnailOf } from "./thumbnail";
import { isGiven, type Item, type OutlinedStructures } from "./types";

let next = 1;
let isRunning = false;

/** Add files to the list and begin with them; the first film that is added is shown. */
export function add(files: { name: string; file: Blob }[]): void {
  if (!files.length) return;
  const fresh = files.map(
    ({ name, file }): Item => ({
      ...{ id: next++, name, file, stage: "waiting", notices: [] },
      history: { steps: [{}], at: 0 },
    }),
  );
  films.value = [...films.value, ...fresh];
  announcement.value = fresh.length === 1 ? `${fresh[0].name} was added.` : `${fresh.length} films were added.`;
  if (chosen.value === null) show(fresh[0].id);
  void run();
}

/** Look at a film. */
export function show(id: number): void {
  chosen.value = id;
  asTable.value = false;
  pane.value = "film";
  void ensure(id);
}

/** Take a film out of the list. */
export function remove(id: number): void {
  const place = films.value.findIndex((film) => film.id === id);
  films.value = films.value.filter((film) => film.id !== id);
  forget(id);
  if (chosen.value !== id) return;
  const neighbour = films.value[Math.min(place, films.value.length - 1)];
  if (neighbour) show(neighbour.id);
  else chosen.value = null;
}

/** Open another model and outline every film again by it. */
export async function changeModel(name: string): Promise<void> {
  forgetEmbeddings();
  films.value = films.value.map(({ result: _, error: __, ...film }): Item => ({ ...film, stage: "waiting" }));
  await openModel(name);
  void run();
}

/** Outline what waits: the film that is looked at first. */
export async function run(): Promise<void> {
  if (isRunning || obstacle.value) return;
  isRunning = true;
  try {
    for (let item = upcoming(); item && bundle.value; item = upcoming()) await outline(item);
  } finally {
    isRunning = false;
  }
}

function upcoming(): Item | undefined {
  const waiting = films.value.filter((film) => film.stage === "waiting");
  return waiting.find((film) => film.id === chosen.value) ?? waiting[0];
}

async function outline(item: Item): Promise<void> {
  const { id } = item;
  const model = bundle.value?.name;
  const began = performance.now();
  try {
    update(id, { stage: "reading" });
    const pixels = await read(item);
    update(id, { stage: "outlining" });
    const prompt = allowed(item.history.steps[item.history.at]);
    await answer(id, pixels, prompt);
    if (bundle.value?.name !== model) {
      update(id, { stage: "waiting" }); // another model was chosen meanwhile, and does it again
      return;
    }
    const result = films.value.find((film) => film.id === id)?.result;
    const milliseconds = performance.now() - began;
    update(id, { stage: "done", milliseconds });
    const doubts = result?.warnings.length ?? 0;
    announcement.value = `${item.name} is outlined${doubts ? `, with ${doubts} ${doubts === 1 ? "warning" : "warnings"}` : ""}.`;
  } catch (error) {
    if (bundle.value?.name !== model) {
      update(id, { stage: "waiting" });
      return;
    }
    update(id, { stage: "failed", error: sentence(error) });
    announcement.value = `${item.name}: ${sentence(error)}`;
  }
}

/** What the open model takes of a prompt. */
function allowed(prompt: Prompt): Prompt {
  const info = bundle.value;
  return {
    ...(prompt.box && info?.acceptsBox ? { box: prompt.box } : {}),
    ...(prompt.points?.length && info?.acceptsPoints ? { points: prompt.points } : {}),
  };
}

async function read(item: Item): Promise<Pixels> {
  const there = pixelsOf(item.id);
  if (there) return there;
  const bytes = new Uint8Array(await item.file.arrayBuffer());
  const film = await (await engine()).readFilm(bytes, item.name);
  const pixels = { film };
  update(item.id, {
    ...{ width: film.width, height: film.height, format: film.format, notices: film.notices },
    ...{ spacing: film.spacing, aspect: film.aspect, dicom: film.dicom },
    window: item.window ?? usualWindow(film.grey),
  });
  keep(item.id, pixels, chosen.value);
  return pixels;
}

async function answer(id: number, pixels: Pixels, prompt: Prompt): Promise<void> {
  const worker = await engine();
  pixels.embedded ??= await worker.embed(pixels.film);
  const { mask, structures, ...rest } = await worker.decode(pixels.embedded, prompt);
  const film = films.value.find((one) => one.id === id);
  if (!film) return;
  const thumbnail = thumbnailOf(pixels.film, film.window ?? usualWindow(pixels.film.grey), mask);
  update(id, { result: { ...rest, bits: pack(mask), structures: structures && packed(structures) }, thumbnail });
}

function packed({ right, heart, ...measured }: Structures): OutlinedStructures {
  return { ...measured, rightBits: pack(right), heartBits: pack(heart) };
}

/** See that the pixels of a film are at hand. */
export async function ensure(id: number): Promise<void> {
  const item = films.value.find((film) => film.id === id);
  if (!item || item.stage === "failed" || pixelsOf(id) || !bundle.value) return;
  if (item.stage !== "done") return; // its turn comes
  try {
    await read(item);
  } catch (error) {
    update(id, { stage: "failed", error: sentence(error) });
  }
}

let asked = 0;

/** Ask again with the film's present prompt; of several questions in a row only the last is answered. */
export async function ask(id: number): Promise<void> {
  const mine = ++asked;
  const item = films.value.find((film) => film.id === id);
  if (!item || item.stage !== "done" || !bundle.value) return;
  try {
    const pixels = await read(item);
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (mine !== asked) return;
    const prompt = allowed(item.history.steps[item.history.at]);
    await answer(id, pixels, prompt);
    if (mine === asked) announcement.value = isGiven(prompt) ? "The outline follows your prompt." : "The outline is the model's own.";
  } catch (error) {
    announcement.value = sentence(error);
  }
}
