import { expect, test } from "vitest";

import { DataSet } from "../src/engine/formats/dicom/elements";
import { toldBy } from "../src/engine/formats/dicom/told";

const film = (tag: string, ...Value: string[]): DataSet => new DataSet({ [tag]: { vr: "LO", Value } }, "1.2.840.10008.1.2.1", true);
const [VIEW, SERIES, PART, ROWS] = ["00185101", "0008103E", "00180015", "00200020"];

test.each([
  ["LLAT", "lateral"],
  ["Cross-Table Lateral", "lateral"],
  ["seitlicher Strahlengang", "lateral"],
  ["ap lat decub", "frontal"],
  ["Profilé", "lateral"],
  ["Schräg", "oblique"],
  ["Incidencia oblicua", "oblique"],
  ["postero-anterior", "frontal"],
  ["Плат", undefined], // \b is of any language's letters
  ["latéral", "lateral"],
  ["LL ERECT", "lateral"],
  ["PA LATERAL", "lateral"],
  ["LTLAT", "lateral"],
  ["LATR", "lateral"],
  ["LLATERAL", "lateral"],
  ["LAT DECUB", "frontal"],
  ["LL DECUB", "frontal"],
  ["LLAT DECUB", "frontal"],
  ["LL PA", "frontal"],
  ["FRONT", "frontal"],
])("the view %s is %s", (said, view) => {
  expect(toldBy(film(VIEW, said)).view).toBe(view);
});

const coded = (code: string, meaning: string, more = {}): DataSet => {
  const view = { vr: "SQ", Value: [{ "00080100": { vr: "SH", Value: code.split("\\") }, "00080104": { vr: "LO", Value: [meaning] } }] };
  return new DataSet({ "00540220": view, ...more }, "1.2.840.10008.1.2.1", true);
};

test.each([
  ["399067008", "боковая", "lateral"],
  ["R-10236 ", "側面", "lateral"],
  ["399356000", "skrå", "oblique"],
  ["399033003", "прямая", "frontal"],
  ["1", "Lateral projection", "lateral"],
  ["1", "側面", undefined],
  ["399067008\\1", "", "lateral"], // as of every element, the first of several
])("the view of code %s, %s, is %s", (code, meaning, view) => {
  expect(toldBy(coded(code, meaning)).view).toBe(view);
});

test("a code is believed before free text, and a position before a code", () => {
  expect(toldBy(coded("272479007", "正面", { [SERIES]: { vr: "LO", Value: ["LAT"] } })).view).toBe("frontal");
  expect(toldBy(coded("399198007", "Boczne", { [VIEW]: { vr: "CS", Value: ["PA"] } })).view).toBe("frontal");
});

test("free text is believed where it does not contradict itself", () => {
  expect(toldBy(film(SERIES, "Thorax lat")).view).toBe("lateral");
  expect(toldBy(film(SERIES, "Thorax pa + lat")).view).toBeUndefined();
});

test.each([
  ["KNIE LINKS", "knie links"],
  ["Épaule", "epaule"],
  ["Schädel", "schadel"],
  ["Fuß (re.)", "fuss re"],
  ["ANKLEJOINT", "anklejoint"],
  ["SI JOINT", "si joint"],
  ["UPPERLIMB", "upperlimb"],
  ["LOWERLEG", "lowerleg"],
  ["UP EXM", "up exm"],
  ["RHAND", "rhand"],
  ["HAENDE", "haende"],
  ["METACARPUS", "metacarpus"],
  ["ESOPHAGUS", "esophagus"],
  ["KUB", "kub"],
  ["SCROTUM", "scrotum"],
  ["RINTA", undefined],
  ["Klatka piersiowa", undefined],
  ["Rücken", undefined],
  ["胸部", undefined],
])("of the part %s is told: %s", (said, part) => {
  expect(toldBy(film(PART, said)).bodyPart).toBe(part);
});

test("the image's right edge may show no side of the patient", () => {
  expect(toldBy(film(ROWS, "L", "F"))).toMatchObject({ rightEdge: "L", onItsSide: false });
  expect(toldBy(film(ROWS, "PR", "H"))).toMatchObject({ rightEdge: "P", view: "lateral" });
  expect(toldBy(film(ROWS, "F", "L"))).toMatchObject({ rightEdge: "F", onItsSide: true });
  expect(toldBy(film(ROWS, "L")).rightEdge).toBeUndefined();
});

test("a region's name within a sequence is UTF-8 where the file says so", () => {
  const name = new TextDecoder("latin1").decode(new TextEncoder().encode("Schädel")); // as dcmjs gives it
  const region = { vr: "SQ", Value: [{ "00080104": { vr: "LO", Value: [name] } }] };
  const elements = { "00080005": { vr: "CS", Value: ["ISO_IR 192"] }, "00082218": region };
  expect(toldBy(new DataSet(elements, "1.2.840.10008.1.2.1", true)).bodyPart).toBe("schadel");
});
