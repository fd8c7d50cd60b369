/** What the server answers; what it takes is in `schema.ts`, which is made from its OpenAPI description. */
import type { components } from "./schema";

export type DrawBody = Partial<components["schemas"]["DrawBody"]> & { prompt: string };

export interface Me {
  name: string;
  scopes: string[];
  quota: Quota;
  used: { characters: number; pictures: number };
}
export interface Quota {
  characters_per_month: number | null;
  pictures_per_month: number | null;
  requests_per_minute: number | null;
  concurrent: number | null;
}
export interface Model {
  name: string;
  title: string;
  state: string;
  estimated_time: number;
  native_size: number;
  adapters: { name: string; strength: number; range: [number, number] | null }[];
  triggers: string[];
  /** The training that it is of. */
  run: string | null;
  /** Of an adapter. */
  base: string | null;
  bytes: number;
}
/** What models take of a device's memory. */
export interface DeviceMemory {
  device: string;
  bytes: number;
  budget: number;
}
export interface Options {
  samplers: string[];
  schedules: string[];
  upscalers: string[];
  limits: Record<string, number>;
}
export interface Picture {
  id: string;
  job: string;
  number: number;
  model: string;
  prompt: string;
  seed: number;
  width: number;
  height: number;
  infotext: string;
  made: number;
  starred: number;
  url: string;
}
export type JobState = "waiting" | "running" | "done" | "failed" | "canceled";
export interface Job {
  id: string;
  state: JobState;
  model: string;
  prompt: string;
  count: number;
  error: string;
  place: number | null;
  progress: number;
  added: number;
  ended: number | null;
  pictures: Picture[];
}
export interface Recalled {
  request: Partial<DrawBody>;
  model: string | null;
  notes: string[];
}
export interface PromptPart {
  text: string;
  kind: "text" | "syntax" | "switch" | "alternation" | "break" | "and" | "tag" | "comment" | "stray";
  weight: number;
}
export interface PromptNode {
  text: string;
  inside?: PromptNode[];
}
export interface PromptReading {
  warnings: string[];
  adapters: { name: string; text: number; unet: number }[];
  parts: PromptPart[];
  negative_parts: PromptPart[];
  tree: PromptNode[];
}
export interface TemplateSet {
  name: string;
  about: string;
  prompts: { name: string; sentence: string; tags: string; negative: string; slots: string[] }[];
}

export type Task = {
  id: string;
  kind: string;
  subject: string;
  title: string;
  command: string;
  state: JobState;
  progress: { what: string; done: number; total: number } | null;
  place: number | null;
  error: string;
  result: unknown;
  added: number;
  ended: number | null;
};
export interface Dataset {
  name: string;
  images: number;
  captioned: number;
  masks: number;
  bytes: number;
  changed: number;
  undo: { number: number; operation: string } | null;
  cover: string | null;
}
export interface DatasetImage {
  path: string;
  width: number;
  height: number;
  bytes: number;
  changed: number;
  caption: string | null;
  tags: string[];
  mask: boolean;
  findings: string[];
}
export interface Fix {
  /** Null: a command that requests may not run. */
  operation: string | null;
  arguments: string[];
  command: string;
}
export interface Finding {
  id: string;
  level: string;
  title: string;
  why: string;
  files: string[];
  fix: Fix | null;
  advice: string;
}
export interface AuditReport {
  images: number;
  unusable: number;
  findings: Finding[];
  fixes: Fix[];
}
export interface Plan {
  summary: string[];
  decisions: { key: string; value: unknown; reason: string }[];
  warnings: string[];
  steps: number;
  epochs: number;
  steps_per_epoch: number;
  estimate: { seconds: number; memory_bytes: number; disk_bytes: number; device: string };
  toml: string;
  /** Every setting with the value that it has in the training. */
  recipe: Record<string, unknown>;
  /** Settings that do nothing in it, with the reason. */
  idle: Record<string, string>;
}
export type RunState = "waiting" | "running" | "stopping" | "stopped" | "failed" | "done";
export interface Run {
  name: string;
  title: string;
  kind: string;
  subject: string;
  base: string;
  job: number | null;
  state: RunState;
  place: number | null;
  waits_for: string;
  step: number;
  steps: number;
  epoch: number;
  epochs: number;
  seconds_left: number | null;
  loss: number | null;
  error: string;
  added: number;
  started: number | null;
  ended: number | null;
  device: string;
  weights: string[];
  samples: number;
  report: boolean;
  served: string | null;
}
export interface Losses {
  step: number[];
  epoch: number[];
  loss: (number | null)[];
  subject: (number | null)[];
  prior: (number | null)[];
  rates: Record<string, (number | null)[]>;
}
export interface Sample {
  step: number;
  epoch: number;
  number: number;
  prompt: string;
  url: string;
}
export interface Token {
  name: string;
  scopes: string[];
  quota: Quota;
  created: number;
  revoked: number | null;
}
export interface UsageRow {
  id: number;
  time: number;
  caller: string;
  token: string;
  dialect: string;
  model: string;
  characters: number;
  pictures: number;
  seconds: number;
  status: string;
}
