import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, get, NO_ANSWER, post } from "./client";
import type { Task } from "./types";

export interface TaskRun {
  /** The task that is on its way; null: none. */
  task: Task | null;
  error: unknown;
  /** Whether it is still unknown if one is on its way. */
  isChecking: boolean;
  /** Start a task and wait for its end; returns its result. It goes on when the tab is closed. */
  start: <T>(path: string, body?: unknown) => Promise<T | null>;
}

const LOOK_AGAIN_MS = 700;

const isActive = (task: Task) => task.state === "waiting" || task.state === "running";

/**
 * Tasks of one kind of a dataset or run: started here and followed to their end. One that was started before, or in another
 * tab, is found and followed too.
 */
export function useTask(subject: string, kind: string, onEnd?: () => unknown): TaskRun {
  const client = useQueryClient();
  const [task, setTask] = useState<Task | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isChecking, setChecking] = useState(true);
  const ended = useRef(onEnd);
  ended.current = onEnd;
  const isHere = useRef(true);

  const follow = useCallback(
    async (begun: Task): Promise<Task> => {
      setTask(begun);
      try {
        return await untilEnd(begun, setTask, () => isHere.current);
      } finally {
        setTask(null);
        void client.invalidateQueries({ queryKey: ["datasets"] });
      }
    },
    [client],
  );

  useEffect(() => {
    isHere.current = true;
    get<{ tasks: Task[] }>("/tasks", { subject, kind, limit: 10 })
      .then(({ tasks }) => {
        const running = tasks.find(isActive);
        if (running && isHere.current) void follow(running).then(() => ended.current?.());
      })
      .catch(() => undefined) // the page's own questions say what is wrong
      .finally(() => setChecking(false));
    return () => {
      isHere.current = false;
    };
  }, [subject, kind, follow]);

  const start = useCallback(
    async <T>(path: string, body: unknown = {}): Promise<T | null> => {
      setError(null);
      try {
        const done = await follow(await post<Task>(path, body));
        if (done.state === "failed") throw new ApiError(500, "failed", done.error, "");
        return done.state === "done" ? (done.result as T) : null;
      } catch (failed) {
        setError(failed);
        return null;
      }
    },
    [follow],
  );
  return { task, error, isChecking, start };
}

/** Return a task that has ended. A server that starts again meanwhile is waited for. */
export async function untilEnd(begun: Task, onChange: (task: Task) => void, isWanted: () => boolean): Promise<Task> {
  let task = begun;
  while (isActive(task) && isWanted()) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    try {
      task = await get<Task>(`/tasks/${begun.id}`);
      if (isActive(task)) onChange(task);
    } catch (failed) {
      if (!(failed instanceof ApiError && failed.status === NO_ANSWER)) throw failed;
    }
  }
  return task;
}
