/** What was found in the film that is looked at: quality, measures, doubts. */
import { Icon } from "../icons";
import { measures } from "../measures";
import { bundle, current, isPrompted } from "../state";
import type { Item, Outlined } from "../types";
import { doubt, grade, share } from "../words";
import { Display } from "./Display";
import { SaveOne } from "./Save";

export function Result() {
  const film = current.value;
  if (!film) return null;
  return (
    <section class="panel result" aria-labelledby="result-title">
      <div class="result-scroll" tabIndex={0} role="region" aria-label="Result and display">
        <header class="result-head">
          <h2 id="result-title" title={film.name}>
            {film.name}
          </h2>
          <p>{facts(film)}</p>
        </header>
        {film.result ? <Found film={film} result={film.result} /> : <Missing film={film} />}
        {film.window && <Display film={film} />}
      </div>
      {film.result && <SaveOne film={film} />}
    </section>
  );
}

function facts(film: Item): string {
  const told = [];
  if (film.format) told.push(film.format);
  if (film.width) told.push(`${film.width} × ${film.height} px`);
  if (film.spacing) told.push(`${film.spacing.column.toFixed(3)} mm a pixel`);
  return told.join(" · ");
}

function Missing({ film }: { film: Item }) {
  if (film.stage !== "failed") return <p class="muted">The outline will appear here.</p>;
  return (
    <div class="note note-bad">
      <Icon name="warning" />
      <p>{film.error}</p>
    </div>
  );
}

function Found({ film, result }: { film: Item; result: Outlined }) {
  return (
    <>
      <QualityOf value={result.quality} error={result.qualityError} />
      <dl class="measures">
        {measures(result, film.milliseconds).map(({ name, value, more }) => (
          <div class="measure" key={name}>
            <dt>{name}</dt>
            <dd>
              {value}
              {more && <span class="measure-more">{more}</span>}
            </dd>
          </div>
        ))}
      </dl>
      <Doubts result={result} />
      {isPrompted(film) && <p class="muted small">This outline follows your box or points.</p>}
      {[...new Set([...film.notices, ...result.notices])].map((notice) => (
        <p class="muted small" key={notice}>
          {notice}
        </p>
      ))}
    </>
  );
}

function QualityOf({ value, error }: { value: number; error?: number }) {
  if (Number.isNaN(value)) return <p class="muted">{bundle.value?.name} does not predict the quality of its masks.</p>;
  const dice = (2 * value) / (1 + value);
  return (
    <div class="expected" data-grade={grade(value)}>
      <p class="expected-number">
        <span class="unseen">Quality: </span>
        {share(value)}
      </p>
      <div class="expected-words">
        <p>Expected overlap</p>
        {error === undefined ? (
          <p class="muted small">Predicted IoU; as Dice {share(dice)}</p>
        ) : (
          <p class="muted small">Dice, ± {share(error)}</p>
        )}
      </div>
      <meter class="expected-bar" min={0} max={1} low={0.8} high={0.9} optimum={1} value={value} aria-label="Expected overlap" />
    </div>
  );
}

function Doubts({ result }: { result: Outlined }) {
  if (!result.warnings.length) {
    return (
      <p class="no-doubt">
        <Icon name="check" />
        <span>No warnings. The mask may still be wrong: look at it.</span>
      </p>
    );
  }
  return (
    <ul class="doubts" aria-label="Warnings">
      {result.warnings.map((warning) => {
        const { code, sentence } = doubt(warning);
        return (
          <li class="note" key={warning}>
            <Icon name="warning" />
            <p>
              {sentence} <code>{code}</code>
            </p>
          </li>
        );
      })}
    </ul>
  );
}
