/** The table of a batch, with the columns of the shell's results.csv. */
import type { Item } from "../types";
import { entryOf } from "./json";

const COLUMNS = [
  ...["path", "mask", "width", "height", "slices", "box_source", "quality", "area_px", "area_mm2"],
  ...["x_min", "y_min", "x_max", "y_max", "spacing_row_mm", "spacing_column_mm"],
  ...["milliseconds", "warnings", "failure", "error"],
];

/** Return the table; what a film has not is left empty. */
export function csvOf(films: Item[], masks: Map<number, string> = new Map()): string {
  const rows = films.map((film) => row(film, masks.get(film.id) ?? null));
  const lines = [COLUMNS, ...rows.map((values) => COLUMNS.map((column) => values[column] ?? ""))];
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

function row(film: Item, mask: string | null): Record<string, unknown> {
  const entry = entryOf(film, film.result ? mask : null);
  const [x_min, y_min, x_max, y_max] = (entry.box as number[] | null) ?? [];
  const [spacing_row_mm, spacing_column_mm] = (entry.spacing_mm as number[] | null) ?? [];
  return {
    ...entry,
    ...{ x_min, y_min, x_max, y_max, spacing_row_mm, spacing_column_mm },
    warnings: (entry.warnings as string[]).join(" | "),
    failure: film.stage === "failed" ? "film" : "",
  };
}

/** Quote what would break a row; nothing else is changed. */
function cell(value: unknown): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
