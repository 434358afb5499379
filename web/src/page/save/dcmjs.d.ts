/** What the page uses of dcmjs, which has no types of its own. */
declare module "dcmjs" {
  type Element = { vr: string; Value?: unknown[] };
  export const data: {
    DicomDict: new (meta: Record<string, Element>) => { dict: Record<string, Element>; write(): ArrayBuffer };
    DicomMetaDictionary: {
      denaturalizeDataset(dataset: Record<string, unknown>): Record<string, Element>;
    };
  };
}
