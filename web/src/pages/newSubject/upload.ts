import { post, request } from "../../api/client";
import { untilEnd } from "../../api/tasks";
import type { Dataset, Task } from "../../api/types";

export interface Uploaded {
  added: string[];
  refused: { name: string; why: string }[];
}
export interface UploadProgress {
  done: number;
  total: number;
}

const BATCH_FILES = 8;
const BATCH_BYTES = 24 << 20;
const ALONE = /\.(zip|mp4|mov|webm|mkv|avi)$/i;

export const newDatasetName = () => `subject-${new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, "")}`;

export const createDataset = (name: string) => post<Dataset>("/datasets", { name });

/** Send files to a dataset, a few at a time, and report how far it is. */
export async function upload(dataset: string, files: File[], onProgress: (progress: UploadProgress) => void): Promise<Uploaded> {
  const found: Uploaded = { added: [], refused: [] };
  let done = 0;
  onProgress({ done, total: files.length });
  for (const batch of batches(files)) {
    const form = new FormData();
    for (const file of batch) form.append("files", file, file.name);
    const answer = await request<Uploaded | Task>("POST", `/datasets/${encodeURIComponent(dataset)}/images`, form);
    const result = "state" in answer ? await imported(answer) : answer;
    found.added.push(...result.added);
    found.refused.push(...result.refused);
    done += batch.length;
    onProgress({ done, total: files.length });
  }
  return found;
}

async function imported(task: Task): Promise<Uploaded> {
  const ended = await untilEnd(task, () => undefined, () => true);
  if (ended.state !== "done") return { added: [], refused: [{ name: ended.title, why: ended.error }] };
  const result = ended.result as Partial<Uploaded> | null;
  return { added: result?.added ?? [], refused: result?.refused ?? [] };
}

function* batches(files: File[]): Generator<File[]> {
  let batch: File[] = [];
  let bytes = 0;
  for (const file of files) {
    if (ALONE.test(file.name)) {
      yield [file]; // becomes a task of its own
      continue;
    }
    if (batch.length === BATCH_FILES || (batch.length > 0 && bytes + file.size > BATCH_BYTES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(file);
    bytes += file.size;
  }
  if (batch.length) yield batch;
}
