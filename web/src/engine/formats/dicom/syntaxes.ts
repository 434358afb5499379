/** Which transfer syntaxes the page decodes, and what is said of those that it does not: `formats/decoders.py`. */

export type Coding = "native" | "rle" | "jpeg" | "jpeg-ls" | "jpeg-lossless" | "jpeg-2000";

const BASE = "1.2.840.10008.1.2";
const CODINGS: Record<string, [Coding, string]> = {
  [BASE]: ["native", "Implicit VR Little Endian"],
  [`${BASE}.1`]: ["native", "Explicit VR Little Endian"],
  [`${BASE}.2`]: ["native", "Explicit VR Big Endian"],
  [`${BASE}.1.99`]: ["native", "Deflated Explicit VR Little Endian"],
  [`${BASE}.5`]: ["rle", "RLE Lossless"],
  [`${BASE}.4.50`]: ["jpeg", "JPEG Baseline (Process 1)"],
  [`${BASE}.4.51`]: ["jpeg", "JPEG Extended (Process 2 and 4)"],
  [`${BASE}.4.57`]: ["jpeg-lossless", "JPEG Lossless, Non-Hierarchical (Process 14)"],
  [`${BASE}.4.70`]: ["jpeg-lossless", "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"],
  [`${BASE}.4.80`]: ["jpeg-ls", "JPEG-LS Lossless Image Compression"],
  [`${BASE}.4.81`]: ["jpeg-ls", "JPEG-LS Lossy (Near-Lossless) Image Compression"],
  [`${BASE}.4.90`]: ["jpeg-2000", "JPEG 2000 Image Compression (Lossless Only)"],
  [`${BASE}.4.91`]: ["jpeg-2000", "JPEG 2000 Image Compression"],
  [`${BASE}.4.201`]: ["jpeg-2000", "High-Throughput JPEG 2000 Image Compression (Lossless Only)"],
  [`${BASE}.4.202`]: ["jpeg-2000", "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)"],
  [`${BASE}.4.203`]: ["jpeg-2000", "High-Throughput JPEG 2000 Image Compression"],
};
const KINDS: [string, string][] = [
  [`${BASE}.4.110`, "JPEG XL"],
  [`${BASE}.4.111`, "JPEG XL"],
  [`${BASE}.4.112`, "JPEG XL"],
  [`${BASE}.4.92`, "multi-component JPEG 2000"],
  [`${BASE}.4.93`, "multi-component JPEG 2000"],
  [`${BASE}.4.94`, "JPIP, where the pixels lie on a server"],
  [`${BASE}.4.95`, "JPIP, where the pixels lie on a server"],
  [`${BASE}.4.204`, "JPIP, where the pixels lie on a server"],
  [`${BASE}.4.205`, "JPIP, where the pixels lie on a server"],
  [`${BASE}.4.10`, "a video"],
  ["1.2.840.10008.1.2.7.", "a video"],
];

/** Return how a syntax's pixels are coded, and its name; undefined where nothing here decodes it. */
export function codingOf(syntax: string): { coding: Coding; title: string } | undefined {
  const found = CODINGS[syntax];
  return found && { coding: found[0], title: found[1] };
}

/** Return why nothing decodes a transfer syntax, as a part of a sentence. */
export function whyUnknown(syntax: string): string {
  const known = KINDS.find(([start]) => syntax.startsWith(start));
  if (known) return `its pixels are ${known[1]} (transfer syntax ${syntax}), which cannot be read here`;
  const shown = syntax.slice(0, 64).replace(/[^0-9.]/g, "") || "(damaged)";
  if (!syntax.startsWith("1.2.840.10008.")) return `its transfer syntax ${shown} is private to its manufacturer`;
  return `its transfer syntax ${shown} is not known`;
}
