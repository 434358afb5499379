/** The list of films beside the viewer, and the same as a table with everything in it. */
import { Icon } from "../icons";
import { choose } from "../files";
import { asTable, chosen, done, films, isBusy, isPrompted, sort, sortBy, sorted } from "../state";
import type { Item, SortKey } from "../types";
import { area, grade, plural, seconds, share } from "../words";
import { remove, show } from "../work";
import { SaveAll } from "./Save";

const COMPACT: [SortKey, string, string][] = [
  ["name", "Film", "cell-name"],
  ["quality", "Quality", "cell-number"],
];
const WIDE: [SortKey, string, string][] = [
  ...COMPACT,
  ["area", "Area", "cell-number"],
  ["warnings", "Warnings", "cell-number"],
  ["time", "Time", "cell-number"],
];

export function Films() {
  return (
    <section class="panel films" aria-labelledby="films-title">
      <div class="panel-head">
        <h2 id="films-title">
          Films <span class="count">{films.value.length}</span>
        </h2>
        <div class="panel-tools">
          {films.value.length > 1 && (
            <button type="button" class="button button-small" onClick={() => void (asTable.value = !asTable.value)} aria-pressed={asTable.value}>
              <Icon name="table" />
              Table
            </button>
          )}
          <button type="button" class="button button-small" onClick={choose} aria-label="Add films">
            <Icon name="plus" />
            Add
          </button>
        </div>
      </div>
      <Progress />
      <div class="films-scroll" tabIndex={0} role="region" aria-label="List of films">
        <FilmTable columns={COMPACT} isWide={false} />
      </div>
    </section>
  );
}

/** The table in place of the viewer. */
export function WideTable() {
  return (
    <section class="wide" aria-labelledby="wide-title">
      <div class="panel-head">
        <h2 id="wide-title">
          All films <span class="count">{films.value.length}</span>
        </h2>
        <div class="panel-tools">
          <SaveAll />
          <button type="button" class="button button-small" onClick={choose}>
            <Icon name="plus" />
            Add films
          </button>
          <button type="button" class="button button-small" onClick={() => void (asTable.value = false)}>
            <Icon name="film" />
            Back to the film
          </button>
        </div>
      </div>
      <div class="films-scroll" tabIndex={0} role="region" aria-label="Table of films">
        <FilmTable columns={WIDE} isWide />
      </div>
    </section>
  );
}

function Progress() {
  const total = films.value.length;
  if (total < 2 || !isBusy.value) return null;
  return (
    <div class="progress">
      <progress value={done.value} max={total} aria-label="Films that are done" />
      <span>
        {done.value} of {total}
      </span>
    </div>
  );
}

function FilmTable({ columns, isWide }: { columns: [SortKey, string, string][]; isWide: boolean }) {
  return (
    <table class={isWide ? "table table-wide" : "table"}>
      <thead>
        <tr>
          {columns.map(([key, label, kind]) => (
            <Heading key={key} column={key} label={label} kind={kind} />
          ))}
          <th scope="col">
            <span class="unseen">Remove</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {sorted.value.map((film) => (
          <Row key={film.id} film={film} isWide={isWide} />
        ))}
      </tbody>
    </table>
  );
}

function Heading({ column, label, kind }: { column: SortKey; label: string; kind: string }) {
  const { key, down } = sort.value;
  const order = key !== column ? "none" : down ? "descending" : "ascending";
  return (
    <th scope="col" class={kind} aria-sort={order}>
      <button type="button" class="sort" onClick={() => sortBy(column)} title={`Sort by ${label.toLowerCase()}`}>
        {label}
        <span class="sort-arrow" aria-hidden="true">
          {order === "none" ? "" : down ? "↓" : "↑"}
        </span>
      </button>
    </th>
  );
}

function Row({ film, isWide }: { film: Item; isWide: boolean }) {
  const isChosen = film.id === chosen.value;
  const { result } = film;
  return (
    <tr class="row" data-stage={film.stage} data-chosen={isChosen} onClick={() => show(film.id)}>
      <th scope="row" class="cell-name">
        <button
          type="button"
          class="row-button"
          aria-current={isChosen ? "true" : undefined}
          onClick={(event) => {
            event.stopPropagation();
            show(film.id);
          }}
        >
          {film.thumbnail ? <img class="thumbnail" src={film.thumbnail} alt="" width={44} height={44} /> : <span class="thumbnail thumbnail-empty" />}
          <span class="row-words">
            <span class="row-name" title={film.name}>
              {film.name}
            </span>
            <span class={film.stage === "failed" ? "row-state row-state-bad" : "row-state"}>{stateOf(film)}</span>
          </span>
        </button>
      </th>
      <td class="cell-number">{result ? <Quality value={result.quality} /> : ""}</td>
      {isWide && (
        <>
          <td class="cell-number">{result ? area(result) : ""}</td>
          <td class="cell-number">{result ? result.warnings.length : ""}</td>
          <td class="cell-number">{result ? seconds(film.milliseconds) : ""}</td>
        </>
      )}
      <td class="cell-remove">
        <button
          type="button"
          class="button button-icon button-quiet"
          aria-label={`Remove ${film.name}`}
          title="Remove from the list"
          onClick={(event) => {
            event.stopPropagation();
            remove(film.id);
          }}
        >
          <Icon name="close" />
        </button>
      </td>
    </tr>
  );
}

function Quality({ value }: { value: number }) {
  return (
    <span class="quality" data-grade={grade(value)}>
      <span class="dot" aria-hidden="true" />
      {share(value)}
    </span>
  );
}

function stateOf(film: Item): string {
  if (film.stage === "failed") return film.error ?? "";
  if (film.stage === "waiting") return "Waiting";
  if (film.stage === "reading") return "Reading …";
  if (film.stage === "outlining") return "Outlining …";
  const doubts = film.result?.warnings.length ?? 0;
  const told = [film.format ?? ""];
  if (isPrompted(film)) told.push("with your prompt");
  if (doubts) told.push(plural(doubts, "warning"));
  return told.join(" · ");
}
