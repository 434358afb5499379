/**
 * Optional inputs of an ONNX file: onnxruntime-web takes none, so one is made an input that must be given.
 *
 * An input is optional where the file holds a value for it, an initializer of its name. That value is cut out of the
 * file's bytes (protobuf: ModelProto.graph = 7, GraphProto.initializer = 5, TensorProto.name = 8).
 */

const [GRAPH, INITIALIZER, NAME] = [7, 5, 8];

interface Field {
  number: number;
  /** Where the field begins, its content begins, and both end. */
  start: number;
  from: number;
  to: number;
}

/** Return the file without its value for `input`; unchanged where it has none. */
export function withRequiredInput(file: Uint8Array, input: string): Uint8Array {
  const graph = fields(file, 0, file.length).find(({ number }) => number === GRAPH);
  if (graph === undefined) return file;
  const value = fields(file, graph.from, graph.to).find(
    ({ number, from, to }) => number === INITIALIZER && nameOf(file, from, to) === input,
  );
  if (value === undefined) return file;
  const head = file.subarray(0, graph.start);
  const length = graph.to - graph.from - (value.to - value.start);
  const parts = [
    ...[head, Uint8Array.of((GRAPH << 3) | 2), varint(length)],
    ...[file.subarray(graph.from, value.start), file.subarray(value.to)],
  ];
  const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function nameOf(file: Uint8Array, from: number, to: number): string {
  const name = fields(file, from, to).find(({ number }) => number === NAME);
  return name === undefined ? "" : new TextDecoder().decode(file.subarray(name.from, name.to));
}

/** List the fields of a message between two places. */
function fields(file: Uint8Array, from: number, to: number): Field[] {
  const found: Field[] = [];
  for (let at = from; at < to; ) {
    const start = at;
    const key = readVarint(file, at);
    const [number, kind] = [Math.floor(key.value / 8), key.value % 8];
    at = key.next;
    let end: number;
    if (kind === 0) end = readVarint(file, at).next;
    else if (kind === 1) end = at + 8;
    else if (kind === 5) end = at + 4;
    else {
      const length = readVarint(file, at);
      at = length.next;
      end = at + length.value;
    }
    found.push({ number, start, from: at, to: end });
    at = end;
  }
  return found;
}

function readVarint(file: Uint8Array, at: number): { value: number; next: number } {
  let [value, factor, next] = [0, 1, at];
  for (;;) {
    const byte = file[next++];
    value += (byte & 127) * factor;
    factor *= 128;
    if (byte < 128) return { value, next };
  }
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.of(...bytes, value);
}
