/** The page's state: signals, which components read and the functions of other files change. */
import { computed, signal } from "@preact/signals";
import type { BundleInfo, SelfCheck } from "../engine/api";
import { isGiven, type Item, type Model, type Pane, type SortKey, type Theme, type Tool } from "./types";

export const films = signal<Item[]>([]);
export const chosen = signal<number | null>(null);
export const models = signal<Model[]>([]);
export const version = signal("");
export const modelName = signal("");
/** Of the bundle that is open; null while none is. */
export const bundle = signal<BundleInfo | null>(null);
/** What keeps the page from outlining anything, in one sentence. */
export const obstacle = signal<string | null>(null);
export const check = signal<SelfCheck | null>(null);
export const tool = signal<Tool>("pan");
export const pane = signal<Pane>("film");
export const asTable = signal(false);
export const helpIsOpen = signal(false);
export const sort = signal<{ key: SortKey; down: boolean }>({ key: "order", down: false });
/** Opacity of the fill, and whether outline and fill are shown at all. */
export const fill = signal(0.22);
export const outlineIsShown = signal(true);
export const inverted = signal(false);
/** Whether keys without Ctrl do something; who speaks to the computer turns them off. */
export const singleKeys = signal(true);
/** Said aloud by screen readers. */
export const announcement = signal("");

export const current = computed(() => films.value.find((film) => film.id === chosen.value) ?? null);
export const done = computed(() => films.value.filter((film) => film.stage === "done" || film.stage === "failed").length);
export const isBusy = computed(() => done.value < films.value.length);

const ORDERS: Record<SortKey, (film: Item) => number | string> = {
  order: (film) => film.id,
  name: (film) => film.name.toLowerCase(),
  quality: (film) => film.result?.quality ?? NaN,
  area: (film) => film.result?.areaMm2 ?? film.result?.areaPx ?? NaN,
  warnings: (film) => (film.result ? film.result.warnings.length : NaN),
  time: (film) => film.milliseconds ?? NaN,
};

/** The films as they are listed; what has no value comes last, whichever way it is sorted. */
export const sorted = computed(() => {
  const { key, down } = sort.value;
  const order = ORDERS[key];
  const sign = down ? -1 : 1;
  return [...films.value].sort((first, second) => {
    const [a, b] = [order(first), order(second)];
    if (typeof a === "string" && typeof b === "string") return sign * a.localeCompare(b, "en", { numeric: true });
    const missing = Number(Number.isNaN(a)) - Number(Number.isNaN(b));
    return missing || sign * ((a as number) - (b as number)) || first.id - second.id;
  });
});

/** Change a film of the list; one that was removed stays removed. */
export function update(id: number, changes: Partial<Item>): void {
  films.value = films.value.map((film) => (film.id === id ? { ...film, ...changes } : film));
}

/** Sort by a column; a second time the other way round, where a third press returns to the order of arrival. */
export function sortBy(key: SortKey): void {
  const { key: before, down } = sort.value;
  if (before !== key) sort.value = { key, down: false };
  else if (!down) sort.value = { key, down: true };
  else sort.value = { key: "order", down: false };
}

/** Whether the film's outline was asked for by a person's box or points. */
export function isPrompted(film: Item): boolean {
  return isGiven(film.history.steps[film.history.at]);
}

const THEME = "adaloraqat-theme";
export const theme = signal<Theme>(storedTheme());

function storedTheme(): Theme {
  try {
    const stored = localStorage.getItem(THEME);
    return stored === "light" || stored === "dark" ? stored : "auto";
  } catch {
    return "auto"; // storage may be forbidden
  }
}

/** Show light, dark, or what the system says, and remember it. */
export function setTheme(wanted: Theme): void {
  theme.value = wanted;
  try {
    localStorage.setItem(THEME, wanted);
  } catch {
    // then it is for this visit only
  }
}
