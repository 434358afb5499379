/** Masks as one bit a pixel: fifty results of large films fit into memory. Bit 0 of a byte comes first, as in DICOM. */

/** Pack (H * W) values, 0 or not, into bits. */
export function pack(mask: Uint8Array): Uint8Array {
  const bits = new Uint8Array((mask.length + 7) >> 3);
  for (let index = 0; index < mask.length; index++) if (mask[index]) bits[index >> 3] |= 1 << (index & 7);
  return bits;
}

/** Return `count` values, 0 or 1, from bits. */
export function unpack(bits: Uint8Array, count: number): Uint8Array {
  const mask = new Uint8Array(count);
  for (let index = 0; index < count; index++) mask[index] = (bits[index >> 3] >> (index & 7)) & 1;
  return mask;
}
