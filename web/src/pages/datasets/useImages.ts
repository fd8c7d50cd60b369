import { useQueries, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { get } from "../../api/client";
import type { DatasetImage } from "../../api/types";

export interface ImageFilter {
  q: string;
  tag: string | null;
  caption: string | null;
  finding: string | null;
}

const PAGE = 200;
/** Pages that a fast scroll only passes are not asked for. */
const REST_MS = 90;
/** Pages that are fetched again when the dataset changes; others when they come into sight. */
const MOST = 6;

interface Found {
  total: number;
  images: DatasetImage[];
}

/**
 * The images of a dataset, fetched in pages when they come into sight. When the dataset has changed (`stamp`) they are
 * fetched again, and shown as they were meanwhile: nothing jumps.
 */
export function useImages(name: string, filter: ImageFilter, stamp: number) {
  const client = useQueryClient();
  const key = JSON.stringify([name, filter]);
  const [wanted, setWanted] = useState<{ key: string; pages: number[] }>({ key, pages: [0] });
  const pages = wanted.key === key ? wanted.pages : [0];
  const { data, isPending, error } = useQueries({
    queries: pages.map((page) => ({
      queryKey: ["datasets", name, "images", filter, page],
      queryFn: () => get<Found>(`/datasets/${encodeURIComponent(name)}/images`, { ...filter, offset: page * PAGE, limit: PAGE }),
      staleTime: 60_000,
    })),
    combine: (found) => ({ data: found.map((one) => one.data), isPending: found.every((one) => one.isPending), error: found.find((one) => one.error)?.error ?? null }),
  });
  const byPage = useMemo(() => new Map(pages.map((page, i) => [page, data[i]])), [data, pages]);
  const sought = useRef(new Set<number>());
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const at = useCallback(
    (index: number): DatasetImage | undefined => {
      const page = Math.floor(index / PAGE);
      if (!byPage.has(page)) {
        sought.current = new Set([...sought.current, page].slice(-2)); // what was passed before is out of sight
        clearTimeout(timer.current);
        timer.current = setTimeout(() => {
          const more = [...sought.current];
          sought.current.clear();
          setWanted((was) => ({ key, pages: [...new Set([...(was.key === key ? was.pages : [0]), ...more])].slice(-MOST) }));
        }, REST_MS);
      }
      return byPage.get(page)?.images[index % PAGE];
    },
    [byPage, key],
  );
  const known = useRef(stamp);
  useEffect(() => {
    if (known.current !== stamp) void client.invalidateQueries({ queryKey: ["datasets", name, "images"] });
    known.current = stamp;
  }, [client, name, stamp]);
  return { at, total: data.findLast((one) => one !== undefined)?.total, isPending, error };
}
