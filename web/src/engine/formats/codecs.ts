/** The decoders of compressed pixels, in WebAssembly from our own files. */

import charls from "@cornerstonejs/codec-charls/decodewasmjs";
import charlsWasm from "@cornerstonejs/codec-charls/decodewasm?url";
import turbo from "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs";
import turboWasm from "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm?url";
import openjpeg from "@cornerstonejs/codec-openjpeg/decodewasmjs";
import openjpegWasm from "@cornerstonejs/codec-openjpeg/decodewasm?url";
import { Decoder as LosslessDecoder } from "jpeg-lossless-decoder-js";

import { MAX_PIXELS } from "../film_values";

/** What a stream holds: whole numbers, the channels of a pixel side by side unless `planar`. */
export interface Decoded {
  width: number;
  height: number;
  channels: number;
  bits: number;
  signed: boolean;
  planar: boolean;
  values: Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array;
}

interface FrameInfo {
  width: number;
  height: number;
  bitsPerSample: number;
  componentCount: number;
  isSigned?: boolean;
}

/** A decoder object of cornerstone's codecs. */
export interface WasmDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  getDecodedBuffer(): Uint8Array;
  readHeader?(): void;
  decode(): void;
  getFrameInfo(): FrameInfo;
  getInterleaveMode?(): number;
  delete(): void;
}

type Module = Record<string, new () => WasmDecoder>;
type Factory = (options?: { locateFile?: () => string; print?: () => void; printErr?: () => void }) => Promise<Module>;

const QUIET = { print: (): void => {}, printErr: (): void => {} };
const modules = new Map<Factory, Promise<Module>>();

/** Return a codec's module; node finds the WebAssembly beside the code, a browser by its address. */
function opened(factory: Factory, wasm: string): Promise<Module> {
  const inNode = typeof process === "object" && process.versions?.node !== undefined;
  let module = modules.get(factory);
  if (module === undefined) {
    module = factory(inNode ? QUIET : { ...QUIET, locateFile: () => wasm });
    modules.set(factory, module);
  }
  return module;
}

/** Load all decoders now, so that no film makes the page request anything later. */
export async function prepareCodecs(): Promise<void> {
  await Promise.all([opened(turbo as Factory, turboWasm), opened(charls as Factory, charlsWasm), opened(openjpeg as Factory, openjpegWasm)]);
}

/** Decode a JPEG of 8 bits: (H, W) grey or (H, W, 3) colours. */
export async function decodeJpeg(stream: Uint8Array): Promise<Decoded> {
  const module = await opened(turbo as Factory, turboWasm);
  return decodedBy(new module["JPEGDecoder"](), stream);
}

export async function decodeJpegLs(stream: Uint8Array): Promise<Decoded> {
  const module = await opened(charls as Factory, charlsWasm);
  return decodedBy(new module["JpegLSDecoder"](), stream);
}

/** Decode JPEG 2000, also the high-throughput kind. */
export async function decodeJpeg2000(stream: Uint8Array): Promise<Decoded> {
  const module = await opened(openjpeg as Factory, openjpegWasm);
  return decodedBy(new module["J2KDecoder"](), stream);
}

/** Decode lossless JPEG; its words are as stored, without a sign. */
export function decodeJpegLossless(stream: Uint8Array): Decoded {
  const decoder = new LosslessDecoder();
  const output = decoder.decompress(stream.slice().buffer, 0, stream.length);
  const { dimX: width, dimY: height, precision: bits, numComp: channels } = decoder.frame;
  const most = width * height * channels;
  const bytes = output.byteLength / most;
  if (bytes !== 1 && bytes !== 2) throw new Error("size");
  const values = bytes === 1 ? new Uint8Array(output) : new Uint16Array(output);
  return { width, height, channels, bits, signed: false, planar: false, values };
}

type Kind<T> = new (buffer: ArrayBuffer, start: number, length: number) => T;
const UNSIGNED: Record<number, Kind<Uint8Array | Uint16Array | Uint32Array> | undefined> = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
const SIGNED: Record<number, Kind<Int8Array | Int16Array> | undefined> = { 1: Int8Array, 2: Int16Array };

function decodedBy(decoder: WasmDecoder, stream: Uint8Array): Decoded {
  try {
    decoder.getEncodedBuffer(stream.length).set(stream);
    if (decoder.readHeader) {
      decoder.readHeader();
      const { width, height } = decoder.getFrameInfo();
      if (width * height > MAX_PIXELS) throw new Error("larger than its header says");
    }
    decoder.decode();
    const { width, height, bitsPerSample: bits, componentCount: channels, isSigned: signed = false } = decoder.getFrameInfo();
    const own = decoder.getDecodedBuffer().slice(); // the decoder's memory goes with it
    const count = width * height * channels;
    const bytes = own.length / count;
    const Kind = signed ? SIGNED[bytes] : UNSIGNED[bytes];
    if (Kind === undefined) throw new Error("size");
    const values = new Kind(own.buffer as ArrayBuffer, 0, count);
    const planar = channels > 1 && decoder.getInterleaveMode?.() === 0;
    return { width, height, channels, bits, signed, planar, values };
  } catch (error) {
    // what the codecs throw is a number, the place of a C++ exception
    throw error instanceof Error ? error : new Error(`decoder: ${String(error)}`);
  } finally {
    decoder.delete();
  }
}
