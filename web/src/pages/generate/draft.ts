import { useSyncExternalStore } from "react";
import type { DrawBody, Model } from "../../api/types";
import type { Box } from "../../components/painting/boxes";
import { type Extension, NO_EXTENSION } from "../../components/painting/ExtendFrame";

export interface StartImage {
  /** As a data: URL. */
  data: string;
  width: number;
  height: number;
  strength: number;
}
export interface DraftRegion {
  id: string;
  box: Box;
  prompt: string;
  /** Strengths of adapters that act in this region, by name. */
  strengths: Record<string, number>;
}
export type MaskedContent = "fill" | "original" | "latent noise" | "latent nothing";

/** What is in the form of *Generate*. It outlives the tab, but for the picture to begin from. */
export interface Draft {
  model: string | null;
  prompt: string;
  negative: string;
  width: number | null;
  height: number | null;
  count: number;
  steps: number;
  guidance: number | null;
  sampler: string;
  schedule: string | null;
  seed: number;
  hires: number | null;
  /** Strengths of the model's adapters that differ from its own, by name. */
  strengths: Record<string, number>;
  image: StartImage | null;
  /** What is done with the picture to begin from. */
  startAs: "whole" | "part" | "beyond";
  /** PNG as a data: URL; white is drawn anew. */
  mask: string | null;
  onlyMasked: boolean;
  maskedContent: MaskedContent;
  maskPadding: number;
  maskBlur: number;
  extend: Extension;
  regions: DraftRegion[];
  /** Weight of the main prompt where regions are. */
  regionBase: number;
  /** Soft edge, in percent of the shorter side. */
  regionEdge: number;
}

const KEPT = "bakehouse.draft";
const NO_IMAGE = { image: null, mask: null, extend: NO_EXTENSION, startAs: "whole" } as const satisfies Partial<Draft>;
const NO_REGIONS = { regions: [], regionBase: 0.1, regionEdge: 3 } satisfies Partial<Draft>;
const EMPTY: Draft = {
  model: null, prompt: "", negative: "", width: null, height: null, count: 1, steps: 20, guidance: null,
  sampler: "DPM++ 2M", schedule: null, seed: -1, hires: null, strengths: {}, onlyMasked: false,
  maskedContent: "original", maskPadding: 32, maskBlur: 4, ...NO_IMAGE, ...NO_REGIONS,
};

let draft = read();
const listeners = new Set<() => void>();

function read(): Draft {
  try {
    return { ...EMPTY, ...(JSON.parse(localStorage.getItem(KEPT) ?? "{}") as Partial<Draft>) };
  } catch {
    return EMPTY;
  }
}

export function changeDraft(change: Partial<Draft>): void {
  draft = { ...draft, ...change };
  localStorage.setItem(KEPT, JSON.stringify({ ...draft, ...NO_IMAGE }));
  for (const listener of listeners) listener();
}

export const emptySettings = (): Partial<Draft> => ({ ...EMPTY, model: draft.model, prompt: draft.prompt });
export const withoutImage = (): Partial<Draft> => NO_IMAGE;

export function useDraft(): Draft {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => draft,
  );
}

const tag = (name: string, strength: number) => ` <lora:${name}:${Number(strength.toFixed(2))}>`;

/** Width and height in which the whole of a picture is drawn: the form's, else the picture's shape in the model's area. */
export function drawnSize({ width, height, image }: Draft, native: number): [number, number] {
  if (!image || (width && height)) return [width ?? native, height ?? native];
  const step = native >= 512 ? 64 : 8;
  const scale = Math.sqrt((native * native) / (image.width * image.height));
  return [image.width, image.height].map((side) => Math.max(step, Math.round((side * scale) / step) * step)) as [number, number];
}

/** The request of a draft. Tags set the strengths of adapters, so that the picture's infotext has them. */
export function bodyOf(draft: Draft, model: Model | undefined): DrawBody {
  const tags = (model?.adapters ?? [])
    .filter((one) => draft.strengths[one.name] !== undefined && draft.strengths[one.name] !== one.strength)
    .map((one) => tag(one.name, draft.strengths[one.name] ?? one.strength));
  const regions = draft.regions.filter((one) => one.prompt.trim());
  return {
    model: model?.name ?? null,
    prompt: draft.prompt + tags.join(""),
    ...(draft.negative ? { negative: draft.negative } : {}),
    ...sizeOf(draft, model?.native_size ?? 512),
    count: draft.count,
    steps: draft.steps,
    ...(draft.guidance === null ? {} : { guidance: draft.guidance }),
    sampler: draft.sampler,
    ...(draft.schedule ? { schedule: draft.schedule } : {}),
    seed: draft.seed,
    ...(draft.hires ? { hires: { scale: draft.hires, upscaler: "Latent", strength: 0.6 } } : {}),
    ...imageOf(draft),
    ...(regions.length
      ? { regions: { regions: regions.map((one) => ({ area: areaOf(one.box), prompt: one.prompt + Object.entries(one.strengths).map(([name, value]) => tag(name, value)).join("") })), base: draft.regionBase, edge: draft.regionEdge } }
      : {}),
  } as DrawBody;
}

/** Whether only a part of the picture is cut out and drawn in the model's own size. */
const isOnlyMasked = (draft: Draft) => draft.image !== null && draft.startAs === "part" && draft.mask !== null && draft.onlyMasked;

function sizeOf(draft: Draft, native: number): Partial<DrawBody> {
  if (!draft.image || isOnlyMasked(draft)) return { ...(draft.width ? { width: draft.width } : {}), ...(draft.height ? { height: draft.height } : {}) };
  const [width, height] = drawnSize(draft, native);
  return { width, height };
}

function imageOf(draft: Draft): Partial<DrawBody> {
  const { image, mask, startAs } = draft;
  if (!image) return {};
  const extend = startAs === "beyond" && Object.values(draft.extend).some(Boolean) ? draft.extend : null;
  return {
    image: { data: image.data, strength: image.strength, resize: "crop", ...(extend ? { extend } : {}) },
    ...(startAs === "part" && mask
      ? { inpaint: { mask, invert: false, blur: draft.maskBlur, content: draft.maskedContent, area: draft.onlyMasked ? "only masked" : "whole picture", padding: draft.maskPadding } }
      : {}),
  };
}

/** Areas that have a name are written with it. */
const NAMED: Record<string, string> = {
  "0,0,50,100": "left", "50,0,100,100": "right", "0,0,100,50": "top", "0,50,100,100": "bottom",
  "0,0,33.33,100": "left-third", "33.33,0,66.67,100": "middle-third", "66.67,0,100,100": "right-third",
};
export const areaOf = ({ left, top, right, bottom }: Box): string => {
  const text = [left, top, right, bottom].join(",");
  return NAMED[text] ?? text;
};

function boxOf(area: string): Box | null {
  const text = Object.entries(NAMED).find(([, name]) => name === area)?.[0] ?? area;
  const [left, top, right, bottom] = text.split(",").map(Number);
  if (left === undefined || top === undefined || right === undefined || bottom === undefined || Number.isNaN(left + top + right + bottom)) return null;
  return { left, top, right, bottom };
}

export const newRegion = (box: Box, prompt = ""): DraftRegion => ({ id: Math.random().toString(36).slice(2, 9), box, prompt, strengths: {} });

const TAG = /\s*<lora:([^:>]+):(-?[\d.]+)>/g;

function withoutTags(text: string): [string, Record<string, number>] {
  const strengths: Record<string, number> = {};
  const rest = text.replace(TAG, (_, name: string, value: string) => {
    strengths[name] = Number(value);
    return "";
  });
  return [rest, strengths];
}

function regionsOf(request: Partial<DrawBody>): Partial<Draft> {
  if (!request.regions) return NO_REGIONS;
  const regions = request.regions.regions.flatMap((one) => {
    const box = one.area ? boxOf(one.area) : null;
    const [prompt, strengths] = withoutTags(one.prompt);
    return box ? [{ ...newRegion(box, prompt), strengths }] : [];
  });
  return { regions, regionBase: request.regions.base ?? NO_REGIONS.regionBase, regionEdge: request.regions.edge ?? NO_REGIONS.regionEdge };
}

/** Take over the settings of a request, as a picture's infotext gives them. */
export function recallDraft(request: Partial<DrawBody>, model: string | null): void {
  const [prompt, strengths] = withoutTags(request.prompt ?? "");
  changeDraft({
    ...(model ? { model } : {}),
    prompt: model ? prompt : (request.prompt ?? ""),
    negative: request.negative ?? "",
    width: request.width ?? null,
    height: request.height ?? null,
    steps: request.steps ?? EMPTY.steps,
    guidance: request.guidance ?? null,
    sampler: request.sampler ?? EMPTY.sampler,
    schedule: request.schedule ?? null,
    seed: request.seed ?? -1,
    strengths: model ? strengths : {},
    count: 1,
    hires: request.hires?.scale ?? null,
    ...NO_IMAGE,
    ...regionsOf(request),
  });
}
