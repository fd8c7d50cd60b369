import { useCallback, useEffect, useRef, useState } from "react";
import { type About, follow, getAbout, getGallery, getMine, NO_ANSWER, PAGE, remove, ShareError, type VisitorPicture } from "./api";

const AGAIN_MS = 2_500;
const GALLERY_MS = 60_000;
const LONGEST_MS = 2_000_000_000;

export interface Live {
  place: number | null;
  progress: number;
  /** Base64 of a PNG. */
  preview: string | null;
}

/** What the page shows, kept as the server says it. */
export function useShare() {
  const [about, setAbout] = useState<About | null>(null);
  const [mine, setMine] = useState<VisitorPicture[] | null>(null);
  const [gallery, setGallery] = useState<VisitorPicture[] | null>(null);
  const [hasMore, setHasMore] = useState(false);
  /** Why nothing can be shown: the link is over, or the server does not answer. */
  const [error, setError] = useState<ShareError | null>(null);
  const withGallery = about?.gallery ?? false;

  const refresh = useCallback(async () => {
    try {
      const [newAbout, newMine] = await Promise.all([getAbout(), getMine()]);
      setAbout(newAbout);
      setMine(newMine);
      setError(null);
    } catch (problem) {
      setError(problem as ShareError);
    }
  }, []);
  const refreshGallery = useCallback(async () => {
    try {
      const found = await getGallery();
      setGallery(found);
      setHasMore(found.length === PAGE);
    } catch (problem) {
      if (problem instanceof ShareError && problem.code === "no_gallery") setGallery([]);
    }
  }, []);
  const showMore = async () => {
    const found = await getGallery(gallery?.at(-1)?.added);
    setGallery((was) => [...(was ?? []), ...found]);
    setHasMore(found.length === PAGE);
  };

  useEffect(() => void refresh(), [refresh]);
  useEffect(() => {
    if (!withGallery) return;
    void refreshGallery();
    const timer = setInterval(() => document.visibilityState === "visible" && void refreshGallery(), GALLERY_MS);
    return () => clearInterval(timer);
  }, [withGallery, refreshGallery]);
  useEffect(() => {
    if (error?.status !== NO_ANSWER) return;
    const timer = setTimeout(() => void refresh(), AGAIN_MS);
    return () => clearTimeout(timer);
  }, [error, refresh]);
  useEffect(() => {
    const used = about?.left.filter((one) => one.left === 0) ?? [];
    if (used.length === 0) return;
    const timer = setTimeout(() => void refresh(), Math.min(LONGEST_MS, 1_000 * Math.min(...used.map((one) => one.reset)) + 1_000));
    return () => clearTimeout(timer);
  }, [about, refresh]);

  const change = (id: string, by: Partial<VisitorPicture>) => setMine((was) => was?.map((one) => (one.id === id ? { ...one, ...by } : one)) ?? null);
  return { about, mine, gallery, hasMore, error, refresh, refreshGallery, showMore, setMine, setGallery, change };
}

/** How far a picture is, as its events say; a connection that breaks is opened again. */
export function useLive(picture: VisitorPicture, onEnded: (ended: Partial<VisitorPicture>) => void, onLost: () => void): Live {
  const [live, setLive] = useState<Live>({ place: picture.place, progress: picture.progress, preview: null });
  const ended = useRef(onEnded);
  ended.current = onEnded;
  const lost = useRef(onLost);
  lost.current = onLost;
  const isActive = picture.state === "waiting" || picture.state === "running";
  const { id } = picture;
  useEffect(() => {
    if (!isActive) return;
    const stop = new AbortController();
    const run = async () => {
      while (!stop.signal.aborted) {
        try {
          for await (const { name, data } of follow(id, stop.signal)) {
            if (name === "queued") setLive((was) => ({ ...was, place: data.place ?? null }));
            if (name === "started") setLive((was) => ({ ...was, place: null }));
            if (name === "step") setLive((was) => ({ ...was, place: null, progress: data.progress ?? was.progress }));
            if (name === "preview") setLive((was) => ({ ...was, preview: data.png ?? null }));
            if (name === "ended") return ended.current(data);
          }
        } catch (problem) {
          if (problem instanceof ShareError && problem.status === 404) return ended.current({ state: "canceled" });
          if (problem instanceof ShareError && problem.status === NO_ANSWER) lost.current();
        }
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    };
    void run();
    return () => stop.abort();
  }, [id, isActive]);
  return live;
}

const UNDO_MS = 6_000;

/** Pictures that are to be removed: for some seconds that can be undone, and a page that is closed removes them. */
export function useRemovals(onRemoved: () => void) {
  const [leaving, setLeaving] = useState<string[]>([]);
  const kept = useRef(leaving);
  kept.current = leaving;
  const timers = useRef(new Map<string, number>());
  const done = useRef(onRemoved);
  done.current = onRemoved;
  const forget = (id: string) => {
    clearTimeout(timers.current.get(id));
    timers.current.delete(id);
    setLeaving((was) => was.filter((one) => one !== id));
  };
  const begin = (id: string) => {
    setLeaving((was) => [...was, id]);
    const finish = async () => {
      await remove(id).catch(() => undefined);
      done.current();
      forget(id);
    };
    timers.current.set(id, window.setTimeout(() => void finish(), UNDO_MS));
  };
  useEffect(() => {
    const leave = () => kept.current.forEach((id) => void remove(id).catch(() => undefined));
    window.addEventListener("pagehide", leave);
    return () => window.removeEventListener("pagehide", leave);
  }, []);
  return { leaving, begin, undo: forget };
}
