import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef, useState } from "react";
import { ApiError, get, post } from "./client";
import type { Task } from "./types";

export interface TaskRun {
  /** The task that is on its way; null: none. */
  task: Task | null;
  error: unknown;
  /** Start a task and wait for its end; returns its result. It goes on when the tab is closed. */
  start: <T>(path: string, body?: unknown) => Promise<T | null>;
}

const LOOK_AGAIN_MS = 700;

/** A task of the server: started, followed by looking again, and its end. */
export function useTask(): TaskRun {
  const client = useQueryClient();
  const [task, setTask] = useState<Task | null>(null);
  const [error, setError] = useState<unknown>(null);
  const current = useRef<string | null>(null);

  const start = useCallback(
    async <T>(path: string, body: unknown = {}): Promise<T | null> => {
      setError(null);
      try {
        const begun = await post<Task>(path, body);
        current.current = begun.id;
        setTask(begun);
        const ended = await untilEnd(begun, setTask, () => current.current === begun.id);
        if (ended.state === "failed") throw new ApiError(500, "failed", ended.error, "");
        return ended.state === "done" ? (ended.result as T) : null;
      } catch (failed) {
        setError(failed);
        return null;
      } finally {
        setTask(null);
        void client.invalidateQueries({ queryKey: ["datasets"] });
      }
    },
    [client],
  );
  return { task, error, start };
}

/** Return a task that has ended. A server that starts again meanwhile is waited for. */
export async function untilEnd(begun: Task, onChange: (task: Task) => void, isWanted: () => boolean): Promise<Task> {
  let task = begun;
  while ((task.state === "waiting" || task.state === "running") && isWanted()) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    try {
      task = await get<Task>(`/tasks/${begun.id}`);
      onChange(task);
    } catch (failed) {
      if (!(failed instanceof ApiError && failed.status === 0)) throw failed;
    }
  }
  return task;
}
