import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { post, remove } from "../../api/client";
import { isActiveTask, tasksQuery } from "../../api/pages";
import type { Task } from "../../api/types";

export interface Fetches {
  /** Fetches on their way, also those that were started in another tab. */
  active: Task[];
  /** Fetches that were started here and have failed. */
  failed: Task[];
  error: unknown;
  start: (name: string) => Promise<void>;
  cancel: (task: Task) => Promise<void>;
  isActive: (name: string) => boolean;
}

export function useFetches(): Fetches {
  const client = useQueryClient();
  const { data: tasks = [] } = useQuery(tasksQuery("fetch"));
  const [started, setStarted] = useState<string[]>([]);
  const [error, setError] = useState<unknown>(null);
  const active = tasks.filter(isActiveTask);
  const before = useRef(0);
  useEffect(() => {
    if (active.length < before.current) {
      void client.invalidateQueries({ queryKey: ["bases"] });
      void client.invalidateQueries({ queryKey: ["presets"] });
    }
    before.current = active.length;
  }, [active.length, client]);
  const refresh = () => client.invalidateQueries({ queryKey: ["tasks", "fetch"] });
  return {
    active,
    failed: tasks.filter((one) => one.state === "failed" && started.includes(one.id)),
    error,
    isActive: (name) => active.some((one) => one.subject === name),
    start: async (name) => {
      setError(null);
      try {
        const task = await post<Task>("/bases", { name });
        setStarted((was) => [...was, task.id]);
        client.setQueryData(tasksQuery("fetch").queryKey, (was) => [task, ...(was ?? [])]);
      } catch (failed) {
        setError(failed);
      }
      await refresh();
    },
    cancel: async (task) => {
      await remove(`/tasks/${task.id}`).catch(setError);
      await refresh();
    },
  };
}
