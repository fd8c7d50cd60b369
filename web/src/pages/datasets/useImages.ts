import { useQueries } from "@tanstack/react-query";
import { useCallback, useRef, useState } from "react";
import { get } from "../../api/client";
import type { DatasetImage } from "../../api/types";

export interface ImageFilter {
  q: string;
  tag: string | null;
  caption: string | null;
  finding: string | null;
}

const PAGE = 200;

/** The images of a dataset, fetched in pages when they come into sight. */
export function useImages(name: string, filter: ImageFilter, stamp: number) {
  const key = JSON.stringify([name, filter, stamp]);
  const [wanted, setWanted] = useState<{ key: string; pages: number[] }>({ key, pages: [0] });
  const pages = wanted.key === key ? wanted.pages : [0];
  const found = useQueries({
    queries: pages.map((page) => ({
      queryKey: ["datasets", name, "images", filter, page, stamp],
      queryFn: () => get<{ total: number; images: DatasetImage[] }>(`/datasets/${encodeURIComponent(name)}/images`, { ...filter, offset: page * PAGE, limit: PAGE }),
      staleTime: 60_000,
    })),
  });
  const asked = useRef(new Set<string>());
  const at = useCallback(
    (index: number): DatasetImage | undefined => {
      const page = Math.floor(index / PAGE);
      const place = pages.indexOf(page);
      const mark = `${key}#${page}`;
      if (place < 0 && !asked.current.has(mark)) {
        asked.current.add(mark);
        queueMicrotask(() => setWanted((was) => ({ key, pages: [...new Set([...(was.key === key ? was.pages : [0]), page])] })));
      }
      return found[place]?.data?.images[index % PAGE];
    },
    [found, key, pages],
  );
  const first = found[0];
  return { at, total: first?.data?.total, isPending: first?.isPending ?? true, error: found.find((one) => one.error)?.error ?? null };
}
