/** What the pages *Publish*, *Models* and *Sliders* ask for. */
import { queryOptions } from "@tanstack/react-query";
import { get } from "./client";
import type { DeviceMemory, Model, Task } from "./types";

export interface Base {
  name: string;
  origin: "package" | "catalogue" | "own" | "hub";
  is_here: boolean;
  family: string;
  what: string;
  licence: string;
  bytes: number | null;
  page: string;
  removes: "files" | "name" | "";
  served: boolean;
  conventions: {
    title: string;
    resolution: number;
    sizes: string[];
    guidance: number;
    sampler: string;
    prompts: "sentences" | "tags";
    quality: string;
    negative: string;
    source: string;
  } | null;
}

export interface Publishing {
  /** Where the server's token for the Hub is from; empty: it has none. */
  hub_token: string;
  /** Whether the caller may publish to other places than the server's folders. */
  elsewhere: boolean;
  protocols: string[];
}

export type FileState = "new" | "changed" | "same" | "kept";

export interface PublicationPreview {
  title: string;
  where: string;
  exists: boolean;
  weights: string;
  strength: number;
  base: string;
  licence_title: string;
  concerns: { name: string; why: string }[];
  files: { name: string; bytes: number; state: FileState }[];
  notes: string[];
  card: string;
  /** Files of the run by the names of images in the card. */
  sources: Record<string, string>;
}

export interface Published {
  where: string;
  changed: string[];
  unchanged: number;
  notes: string[];
}

export interface Slider {
  name: string;
  prompts: { target: string; positive: string; negative: string; action: string }[];
  keep: string[];
  low: number;
  high: number;
  preferred: number;
  places: { strength: number; position: number; health: number; images: string[] }[];
  sample: { steps: number | null; guidance: number | null; sampler: string | null; seed: number | null; negative: string | null; size: number[] };
}

export const basesQuery = queryOptions({ queryKey: ["bases"], queryFn: async () => (await get<{ bases: Base[] }>("/bases")).bases, staleTime: 60_000 });
export const servedQuery = queryOptions({ queryKey: ["models", "memory"], queryFn: () => get<{ models: Model[]; memory: DeviceMemory[] }>("/models"), refetchInterval: 10_000 });
export const publishingQuery = queryOptions({ queryKey: ["publishing"], queryFn: () => get<Publishing>("/publishing") });
export const publishedQuery = (name: string) => queryOptions({ queryKey: ["published", name], queryFn: () => get<{ list: { name: string; bytes: number }[] }>(`/published/${encodeURIComponent(name)}`) });
export const sliderQuery = (name: string) => queryOptions({ queryKey: ["slider", name], queryFn: () => get<Slider>(`/runs/${encodeURIComponent(name)}/slider`) });
export const tasksQuery = (kind: string, subject?: string) =>
  queryOptions({
    queryKey: ["tasks", kind, subject ?? ""],
    queryFn: async () => (await get<{ tasks: Task[] }>("/tasks", { kind, subject, limit: 20 })).tasks,
    refetchInterval: (query) => (query.state.data?.some(isActiveTask) ? 700 : false),
  });

export const isActiveTask = (task: Task) => task.state === "waiting" || task.state === "running";
