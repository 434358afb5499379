/** What the codecs' packages say nothing of. */

declare module "@cornerstonejs/codec-charls/decodewasmjs" {
  const factory: unknown;
  export default factory;
}
declare module "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs" {
  const factory: unknown;
  export default factory;
}
declare module "@cornerstonejs/codec-openjpeg/decodewasmjs" {
  const factory: unknown;
  export default factory;
}
declare module "jpeg-lossless-decoder-js" {
  export class Decoder {
    decompress(buffer: ArrayBufferLike, offset?: number, length?: number): ArrayBuffer;
    frame: { dimX: number; dimY: number; precision: number; numComp: number };
  }
}
declare module "dcmjs" {
  export interface DicomElement {
    vr: string;
    Value?: unknown[];
    _rawValue?: unknown;
  }
  export type DicomElements = Record<string, DicomElement>;
  export const data: {
    DicomMessage: {
      readFile(buffer: ArrayBuffer, options?: Record<string, unknown>): { meta: DicomElements; dict: DicomElements };
    };
    DicomMetaDictionary: { nameMap: Record<string, { tag: string } | undefined> };
  };
  export interface Log {
    getLogger?(name: string): { setLevel(level: string): void };
    setLevel?(level: string): void;
  }
  export const log: Log;
  const all: { data: typeof data; log: typeof log };
  export default all;
}
