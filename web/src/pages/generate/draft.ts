import { useSyncExternalStore } from "react";
import type { DrawBody, Model } from "../../api/types";

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
  image: { data: string; strength: number } | null;
  /** PNG as a data: URL; white is drawn anew. */
  mask: string | null;
  onlyMasked: boolean;
}

const KEPT = "bakehouse.draft";
const EMPTY: Draft = {
  model: null, prompt: "", negative: "", width: null, height: null, count: 1, steps: 20, guidance: null,
  sampler: "DPM++ 2M", schedule: null, seed: -1, hires: null, strengths: {}, image: null, mask: null, onlyMasked: false,
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
  localStorage.setItem(KEPT, JSON.stringify({ ...draft, image: null, mask: null }));
  for (const listener of listeners) listener();
}

export const emptySettings = (): Partial<Draft> => ({ ...EMPTY, model: draft.model, prompt: draft.prompt });

export function useDraft(): Draft {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => draft,
  );
}

/** The request of a draft. Tags set the strengths of adapters, so that the picture's infotext has them. */
export function bodyOf(draft: Draft, model: Model | undefined): DrawBody {
  const tags = (model?.adapters ?? [])
    .filter((one) => draft.strengths[one.name] !== undefined && draft.strengths[one.name] !== one.strength)
    .map((one) => ` <lora:${one.name}:${draft.strengths[one.name]}>`);
  return {
    model: model?.name ?? null,
    prompt: draft.prompt + tags.join(""),
    ...(draft.negative ? { negative: draft.negative } : {}),
    ...(draft.width ? { width: draft.width } : {}),
    ...(draft.height ? { height: draft.height } : {}),
    count: draft.count,
    steps: draft.steps,
    ...(draft.guidance === null ? {} : { guidance: draft.guidance }),
    sampler: draft.sampler,
    ...(draft.schedule ? { schedule: draft.schedule } : {}),
    seed: draft.seed,
    ...(draft.hires ? { hires: { scale: draft.hires, upscaler: "Latent", strength: 0.6 } } : {}),
    ...(draft.image ? { image: { data: draft.image.data, strength: draft.image.strength, resize: "crop" } } : {}),
    ...(draft.image && draft.mask
      ? { inpaint: { mask: draft.mask, area: draft.onlyMasked ? "only masked" : "whole picture" } }
      : {}),
  } as DrawBody;
}

/** Take over the settings of a request, as a picture's infotext gives them. */
export function recallDraft(request: Partial<DrawBody>, model: string | null): void {
  const tag = /\s*<lora:([^:>]+):(-?[\d.]+)>/g;
  const strengths: Record<string, number> = {};
  const prompt = (request.prompt ?? "").replace(tag, (_, name: string, value: string) => {
    strengths[name] = Number(value);
    return "";
  });
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
    hires: null,
  });
}
