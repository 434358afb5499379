/** ONNX Runtime's WebAssembly backend: the only place that knows it. */

import * as ort from "onnxruntime-web/wasm";
import glueUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

import { BundleError } from "./types";
import type { EngineOptions } from "./types";

const MOST_THREADS = 4; // more bring little to graphs of this size

/** An opened graph. */
export type Graph = ort.InferenceSession;

/** Say where the runtime's files lie and how many threads it may start; before the first graph is opened. */
export function configure(options: EngineOptions): void {
  const inBrowser = typeof process !== "object" || process.versions?.node === undefined;
  const isolated = globalThis.crossOriginIsolated === true; // else there is no shared memory for threads
  const cores = globalThis.navigator?.hardwareConcurrency ?? 1;
  ort.env.wasm.numThreads = options.threads ?? (isolated ? Math.min(MOST_THREADS, cores) : 1);
  if (inBrowser) {
    if (!isolated) ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { mjs: glueUrl, wasm: wasmUrl }; // threads start from a file of their own
  }
  ort.env.logLevel = "fatal"; // a failure reaches the user as a sentence
}

/** Open one graph. `stored`: its integers are stored weights and no product is one of integers. */
export async function openGraph(content: ArrayBuffer | Uint8Array, name: string, stored: boolean): Promise<Graph> {
  try {
    return await ort.InferenceSession.create(content instanceof Uint8Array ? content : new Uint8Array(content), {
      executionProviders: ["wasm"],
      logSeverityLevel: 4,
      extra: stored ? { session: { disable_quant_qdq: "1" } } : {},
    });
  } catch (error) {
    throw new BundleError(`This browser cannot run the model '${name}' (${String(error)}): use another one, or the command \`adaloraqat segment\`.`);
  }
}

export function floats(data: Float32Array, dims: number[]): ort.Tensor {
  return new ort.Tensor("float32", data, dims);
}

export function integers(data: BigInt64Array, dims: number[]): ort.Tensor {
  return new ort.Tensor("int64", data, dims);
}

/** Run a graph and return the values of its outputs by name, with their sizes. */
export async function run(graph: Graph, inputs: Record<string, ort.Tensor>): Promise<Record<string, { data: Float32Array; dims: readonly number[] }>> {
  const outputs = await graph.run(inputs);
  return Object.fromEntries(
    Object.entries(outputs).map(([key, tensor]) => [key, { data: Float32Array.from(tensor.data as Float32Array), dims: tensor.dims }]),
  );
}
