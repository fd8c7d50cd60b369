import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { address } from "../../api/client";
import { useEvents } from "../../api/events";
import { jobsQuery } from "../../api/queries";
import type { Job } from "../../api/types";

const EVENTS = ["queued", "started", "step", "preview", "picture", "done", "failed", "canceled"] as const;

export interface Live {
  place: number | null;
  progress: number;
  /** Base64 of a PNG. */
  preview: string | null;
}

/** How far a job is, as its events say. */
export function useLiveJob(job: Job): Live {
  const client = useQueryClient();
  const [live, setLive] = useState<Live>({ place: job.place, progress: job.progress, preview: null });
  useEvents(address(`/jobs/${job.id}/events`), EVENTS, (name, data) => {
    const event = data as { place?: number; progress?: number; png?: string };
    if (name === "queued") setLive((was) => ({ ...was, place: event.place ?? null }));
    if (name === "started") setLive((was) => ({ ...was, place: null }));
    if (name === "step") setLive((was) => ({ ...was, place: null, progress: event.progress ?? was.progress }));
    if (name === "preview") setLive((was) => ({ ...was, preview: event.png ?? null }));
    if (name === "picture") setLive((was) => ({ ...was, preview: null }));
    if (name === "done" || name === "failed" || name === "canceled") {
      void client.invalidateQueries({ queryKey: ["jobs"] });
      void client.invalidateQueries({ queryKey: ["pictures"] });
      void client.invalidateQueries({ queryKey: ["models"] });
      return false; // the server would send the end again and again
    }
    return true;
  });
  return live;
}

export function useActiveJobs(): Job[] {
  const { data = [] } = useQuery(jobsQuery);
  return data.filter((job) => job.state === "waiting" || job.state === "running").sort((a, b) => a.added - b.added);
}
