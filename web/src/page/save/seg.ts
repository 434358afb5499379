/** A film's result as DICOM segmentation, with the segments and attributes that the shell's (highdicom's) has. */
import { data } from "dcmjs";
import type { BundleInfo, DicomHeader } from "../../engine/api";
import { pack } from "../bits";
import type { Outlined } from "../types";
import { regionsOf, STRUCTURE, type Code, type Region } from "./regions";

const SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4";
const EXPLICIT_LITTLE = "1.2.840.10008.1.2.1";
const IMPLEMENTATION = "2.25.203716846019537462915084420188";
const RESEARCH = "Research only, not for diagnosis: lungs by AdaLoRA-QAT";
const MANUFACTURER = "AdaLoRA-QAT developers";
const SERIES = 9001;

/** Of patient, study and trial: taken from the film as they are; those in the first row are always there. */
const ALWAYS: [string, string][] = [
  ...([["00100010", "PN"], ["00100020", "LO"], ["00100030", "DA"], ["00100040", "CS"]] as [string, string][]),
  ...([["00080020", "DA"], ["00080030", "TM"], ["00080050", "SH"], ["00080090", "PN"]] as [string, string][]),
  ...([["0020000D", "UI"], ["00200010", "SH"], ["00200020", "CS"]] as [string, string][]),
];
const WHERE_THERE = ["00081030", "00101010", "00101020", "00101030", "00120062", "00120063", "00120010", "00120020", "00120040"];

type Element = { vr: string; Value?: unknown[] };

/** What writes DICOM in dcmjs, which has no types of its own. */
const { DicomDict, DicomMetaDictionary } = data as unknown as {
  DicomDict: new (meta: Record<string, Element>) => { dict: Record<string, Element>; write(): ArrayBuffer };
  DicomMetaDictionary: { denaturalizeDataset(dataset: Record<string, unknown>): Record<string, Element> };
};

/**
 * Return the bytes of the object.
 *
 * Throws an Error with a sentence where the film does not say which object, series or study it is.
 */
export function segmentationOf(header: DicomHeader, result: Outlined, info: BundleInfo, version: string): Uint8Array {
  const film = header.elements;
  const uid = (tag: string, name: string): string => {
    const value = String(film[tag]?.Value?.[0] ?? "");
    if (!/^[0-9.]{1,64}$/.test(value)) throw new Error(`the film has no valid ${name}, which a segmentation must refer to.`);
    return value;
  };
  const source = { ReferencedSOPClassUID: uid("00080016", "SOPClassUID"), ReferencedSOPInstanceUID: uid("00080018", "SOPInstanceUID") };
  uid("0020000D", "StudyInstanceUID");
  const regions = regionsOf(header, result);
  const instance = newUid();
  const own = {
    ...equipment(info, version),
    ...{ SOPClassUID: SEGMENTATION_STORAGE, SOPInstanceUID: instance, SeriesInstanceUID: newUid() },
    ReferencedSeriesSequence: [{ SeriesInstanceUID: uid("0020000E", "SeriesInstanceUID"), ReferencedInstanceSequence: [source] }],
    SourceImageSequence: [source],
    ...content(result, regions),
    SegmentSequence: regions.map((region, index) => segment(index + 1, region, info, version)),
    ...frames(source, regions),
  };
  const taken: Record<string, Element> = {};
  for (const [tag, vr] of ALWAYS) taken[tag] = film[tag]?.Value ? film[tag] : { vr, Value: [] };
  for (const tag of WHERE_THERE) if (film[tag]?.Value) taken[tag] = film[tag];
  const written = new DicomDict(meta(instance));
  const elements = { ...taken, ...DicomMetaDictionary.denaturalizeDataset(own) };
  written.dict = Object.fromEntries(Object.entries(elements).sort(([a], [b]) => (a < b ? -1 : 1)));
  written.dict["7FE00010"] = { vr: "OB", Value: [even(pack(joined(regions)))] };
  return new Uint8Array(written.write());
}

function meta(instance: string): Record<string, Element> {
  return {
    "00020001": { vr: "OB", Value: [Uint8Array.of(0, 1).buffer] },
    "00020002": { vr: "UI", Value: [SEGMENTATION_STORAGE] },
    "00020003": { vr: "UI", Value: [instance] },
    "00020010": { vr: "UI", Value: [EXPLICIT_LITTLE] },
    "00020012": { vr: "UI", Value: [IMPLEMENTATION] },
    "00020013": { vr: "SH", Value: ["ADALORAQAT"] },
  };
}

function equipment(info: BundleInfo, version: string): Record<string, unknown> {
  const { date, time } = now();
  return {
    SpecificCharacterSet: "ISO_IR 192", // dcmjs has decoded the film's text, and writes UTF-8
    ImageType: ["DERIVED", "PRIMARY"],
    ...{ InstanceCreationDate: date, InstanceCreationTime: time, ContentDate: date, ContentTime: time },
    ...{ Modality: "SEG", Manufacturer: MANUFACTURER, ManufacturerModelName: `AdaLoRA-QAT ${info.name}`.slice(0, 64) },
    ...{ SeriesDescription: RESEARCH, SoftwareVersions: `adaloraqat ${version}`, DeviceSerialNumber: digests(info)[0]?.slice(-64) },
    ...{ SeriesNumber: SERIES, InstanceNumber: 1 },
  };
}

function content({ width, height }: Outlined, regions: Region[]): Record<string, unknown> {
  return {
    ...{ SamplesPerPixel: 1, PhotometricInterpretation: "MONOCHROME2", NumberOfFrames: regions.length, Rows: height, Columns: width },
    ...{ BitsAllocated: 1, BitsStored: 1, HighBit: 0, PixelRepresentation: 0, LossyImageCompression: "00" },
    ...{ SegmentationType: "BINARY", SegmentsOverlap: overlap(regions) ? "YES" : "NO", PresentationLUTShape: "IDENTITY" },
    ...{ ContentLabel: "LUNGS", ContentDescription: RESEARCH, ContentCreatorName: "AdaLoRA-QAT^" },
  };
}

function segment(number: number, { label, kind, side }: Region, info: BundleInfo, version: string): Record<string, unknown> {
  const name = `AdaLoRA-QAT ${info.name}`.slice(0, 64);
  return {
    ...{ SegmentNumber: number, SegmentLabel: label, SegmentDescription: `${info.outlines}. ${RESEARCH}.`.slice(0, 1024) },
    ...{ SegmentAlgorithmType: "AUTOMATIC", SegmentAlgorithmName: name },
    SegmentedPropertyCategoryCodeSequence: [snomed(STRUCTURE)],
    SegmentedPropertyTypeCodeSequence: [{ ...snomed(kind), ...(side && { SegmentedPropertyTypeModifierCodeSequence: [snomed(side)] }) }],
    SegmentationAlgorithmIdentificationSequence: [
      {
        ...{ AlgorithmName: name, AlgorithmVersion: version, AlgorithmSource: MANUFACTURER },
        AlgorithmFamilyCodeSequence: [code("123110", "DCM", "Artificial Intelligence")],
        AlgorithmParameters: [digests(info).join(",")], // dcmjs takes the letters of a bare text for values
      },
    ],
  };
}

function frames(source: Record<string, string>, regions: Region[]): Record<string, unknown> {
  const organization = newUid();
  const purpose = code("121322", "DCM", "Source image for image processing operation");
  const image = { ...source, SpatialLocationsPreserved: "YES", PurposeOfReferenceCodeSequence: [purpose] };
  const derivation = { SourceImageSequence: [image], DerivationCodeSequence: [code("113076", "DCM", "Segmentation")] };
  const isOne = regions.length === 1;
  const segmentOf = (number: number): Record<string, unknown> => ({ SegmentIdentificationSequence: [{ ReferencedSegmentNumber: number }] });
  return {
    DimensionOrganizationSequence: [{ DimensionOrganizationUID: organization }],
    DimensionIndexSequence: [
      {
        ...{ DimensionOrganizationUID: organization, DimensionIndexPointer: 0x0062000b },
        ...{ FunctionalGroupPointer: 0x0062000a, DimensionDescriptionLabel: "Referenced Segment Number" },
      },
    ],
    SharedFunctionalGroupsSequence: [isOne ? segmentOf(1) : {}],
    PerFrameFunctionalGroupsSequence: regions.map((_, index) => ({
      DerivationImageSequence: [derivation],
      FrameContentSequence: [{ DimensionIndexValues: index + 1 }],
      ...(isOne ? {} : segmentOf(index + 1)),
    })),
  };
}

function code(value: string, scheme: string, meaning: string): Record<string, string> {
  return { CodeValue: value, CodingSchemeDesignator: scheme, CodeMeaning: meaning };
}

function snomed([value, meaning]: Code): Record<string, string> {
  return code(value, "SCT", meaning);
}

/** The SHA-256 of the graphs that hold the weights, as the shell names them. */
function digests(info: BundleInfo): string[] {
  const files = (info.document.files ?? {}) as Record<string, { sha256?: string }>;
  return ["encoder.onnx", "decoder.onnx"]
    .filter((name) => files[name]?.sha256)
    .map((name) => `SHA-256 of ${name}=${files[name].sha256}`);
}

/** A new UID of 122 random bits, below 2.25 as the standard has it for UUIDs. */
function newUid(): string {
  return `2.25.${BigInt(`0x${crypto.randomUUID().replaceAll("-", "")}`)}`;
}

function now(): { date: string; time: string } {
  const at = new Date();
  const two = (value: number): string => String(value).padStart(2, "0");
  return {
    date: `${at.getFullYear()}${two(at.getMonth() + 1)}${two(at.getDate())}`,
    time: `${two(at.getHours())}${two(at.getMinutes())}${two(at.getSeconds())}`,
  };
}

/** The frames, one after the other: in a binary segmentation they are packed without a gap. */
function joined(regions: Region[]): Uint8Array {
  const size = regions[0].mask.length;
  const masks = new Uint8Array(regions.length * size);
  regions.forEach(({ mask }, index) => masks.set(mask, index * size));
  return masks;
}

/** Whether a pixel lies in several segments: behind the heart there is lung. */
function overlap([first, ...others]: Region[]): boolean {
  const seen = first.mask.slice();
  return others.some(({ mask }) => mask.some((inside, cell) => inside === 1 && seen[cell]++ > 0));
}

/** Values have an even number of bytes. */
function even(bits: Uint8Array): ArrayBuffer {
  const padded = new Uint8Array(bits.length + (bits.length % 2));
  padded.set(bits);
  return padded.buffer;
}
