/** RLE of DICOM (PS3.5 annex G): one segment for each byte of a sample, the highest byte first. */

/** Return the samples of one frame, channel after channel, as little-endian words of `bytes` bytes. */
export function decodeRle(stream: Uint8Array, pixels: number, channels: number, bytes: number): Uint8Array {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const count = view.getUint32(0, true);
  if (count !== channels * bytes) throw new Error(`${count} segments`);
  const result = new Uint8Array(pixels * channels * bytes);
  for (let segment = 0; segment < count; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < count ? view.getUint32(8 + 4 * segment, true) : stream.length;
    const channel = Math.floor(segment / bytes);
    const first = channel * pixels * bytes + (bytes - 1 - (segment % bytes));
    unpack(stream.subarray(start, end), result, first, bytes, pixels);
  }
  return result;
}

/** Undo PackBits into every `step`-th byte. */
function unpack(packed: Uint8Array, to: Uint8Array, first: number, step: number, pixels: number): void {
  let done = 0;
  let at = 0;
  while (done < pixels) {
    if (at >= packed.length) throw new Error("segment ends early");
    const head = packed[at++];
    if (head === 128) continue;
    const length = Math.min(head < 128 ? head + 1 : 257 - head, pixels - done);
    if (head < 128 && at + length > packed.length) throw new Error("segment ends early");
    for (let i = 0; i < length; i++) to[first + (done + i) * step] = head < 128 ? packed[at + i] : packed[at];
    at += head < 128 ? head + 1 : 1;
    done += length;
  }
}
