/** The Dice that a mask is expected to have, with its error: `bundle/expected_quality.py`. */

const SMALLEST = 1e-3;
const FARTHEST = 10;
const UNDECIDED = [0.25, 0.75];
const CERTAIN = 17; // beyond it a probability is 0 or 1 in 32 bits
const DECIDED = 1.2; // beyond it a logit's probability lies outside UNDECIDED: ln 3 is 1.0986

/** What stands under `quality` in a bundle.json. */
export interface QualityModel {
  features: string[];
  mean: number[];
  std: number[];
  weights: number[];
  bias: number;
  errors: [number, number][];
  embedding_mean: number[];
  embedding_std: number[];
}

/** What one film's answer shows. `lungs`: both lungs as the head for structures sees them, where there is one. */
export interface Shown {
  mask: Uint8Array;
  logits: Float32Array;
  predictedIou: number;
  lungs?: Uint8Array;
  embedding: Float32Array;
}

/** Return the expected Dice and the standard deviation of the true one about it; 0 of an empty mask. */
export function expectedQuality(model: QualityModel, shown: Shown): { quality: number; error?: number } {
  const area = count(shown.mask);
  if (area === 0) return { quality: 0 };
  let score = model.bias;
  model.features.forEach((name, k) => {
    const standard = (feature(name, model, shown, area) - model.mean[k]) / model.std[k];
    score += model.weights[k] * Math.min(FARTHEST, Math.max(-FARTHEST, standard));
  });
  const quality = 1 / (1 + Math.exp(-score));
  return { quality, error: interpolated(quality, model.errors) };
}

function feature(name: string, model: QualityModel, shown: Shown, area: number): number {
  if (name === "predicted_iou") {
    const clipped = Math.min(0.99, Math.max(0.01, shown.predictedIou));
    return Math.log(clipped / (1 - clipped));
  }
  if (name === "undecided") {
    let undecided = 0;
    for (const logit of shown.logits) {
      if (logit > DECIDED || logit < -DECIDED) continue; // most pixels: the exponential is slow
      const probability = Math.fround(1 / (1 + Math.exp(-logit)));
      if (probability > UNDECIDED[0] && probability < UNDECIDED[1]) undecided++;
    }
    return Math.log(SMALLEST + undecided / area);
  }
  if (name === "unsure") {
    let [inside, everywhere] = [0, 0];
    shown.logits.forEach((logit, i) => {
      if (logit < -CERTAIN) return; // most pixels: the exponential is slow
      const probability = logit > CERTAIN ? 1 : 1 / (1 + Math.exp(-logit));
      everywhere += probability;
      if (shown.mask[i]) inside += probability;
    });
    return Math.log(SMALLEST + Math.max(0, 1 - (2 * inside) / (area + everywhere)));
  }
  if (name === "disagreement" && shown.lungs) {
    const { mask, lungs } = shown;
    let both = 0;
    for (let i = 0; i < mask.length; i++) both += mask[i] & lungs[i];
    return Math.log(SMALLEST + 1 - (2 * both) / (area + count(lungs)));
  }
  if (name === "unlike") return unlikeness(shown.embedding, model.embedding_mean, model.embedding_std);
  throw new Error(`the quality model asks for ${name}, which this bundle cannot show`);
}

function unlikeness(embedding: Float32Array, mean: number[], std: number[]): number {
  const cells = embedding.length / mean.length;
  let squares = 0;
  mean.forEach((usual, d) => {
    let sum = 0;
    for (let i = d * cells; i < (d + 1) * cells; i++) sum += embedding[i];
    squares += ((sum / cells - usual) / std[d]) ** 2;
  });
  return Math.log(Math.max(SMALLEST, Math.sqrt(squares / mean.length)));
}

/** NumPy's `interp`: linear between the points, constant beyond them. */
function interpolated(at: number, points: [number, number][]): number {
  if (at <= points[0][0]) return points[0][1];
  for (let k = 1; k < points.length; k++) {
    const [[x0, y0], [x1, y1]] = [points[k - 1], points[k]];
    if (at <= x1) return y0 + ((at - x0) / (x1 - x0)) * (y1 - y0);
  }
  return points[points.length - 1][1];
}

function count(values: Uint8Array): number {
  let found = 0;
  for (const value of values) found += value;
  return found;
}
