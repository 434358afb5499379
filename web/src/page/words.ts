/** Numbers and names as the page writes them. */
import type { Outlined } from "./types";

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value: number): string => COUNT.format(value);

/** A share in [0, 1] as the shell has it; a dash where there is none. */
export const share = (value: number | undefined): string => (value === undefined || Number.isNaN(value) ? "–" : value.toFixed(2));

/** The area in cm², or in pixels where the film does not tell how large one is. */
export function area(result: Outlined): string {
  return result.areaMm2 === undefined ? `${count(result.areaPx)} px` : `${(result.areaMm2 / 100).toFixed(1)} cm²`;
}

export const seconds = (milliseconds: number | undefined): string =>
  milliseconds === undefined ? "–" : `${(milliseconds / 1000).toFixed(milliseconds < 9950 ? 1 : 0)} s`;

/** A warning's code and sentence, of "code: sentence". */
export function doubt(warning: string): { code: string; sentence: string } {
  const at = warning.indexOf(": ");
  if (at < 0) return { code: "warning", sentence: warning };
  const sentence = warning.slice(at + 2);
  return { code: warning.slice(0, at), sentence: sentence.charAt(0).toUpperCase() + sentence.slice(1) };
}

/** How far a quality can be trusted to look right, for its colour; the number stands beside it always. */
export function grade(quality: number | undefined): "good" | "fair" | "poor" | "none" {
  if (quality === undefined || Number.isNaN(quality)) return "none";
  return quality >= 0.9 ? "good" : quality >= 0.8 ? "fair" : "poor";
}

export const plural = (number: number, one: string, many = `${one}s`): string => `${count(number)} ${number === 1 ? one : many}`;
