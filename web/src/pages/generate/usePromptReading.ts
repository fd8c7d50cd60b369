import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { post } from "../../api/client";
import type { PromptPart, PromptReading } from "../../api/types";
import { useDraft } from "./draft";

const WAIT_MS = 250;

/** How the server reads the prompts of the form, a moment after they were typed. */
export function usePromptReading(): PromptReading | undefined {
  const { prompt, negative, steps } = useDraft();
  const [asked] = useDebouncedValue(prompt, WAIT_MS);
  const [unwanted] = useDebouncedValue(negative, WAIT_MS);
  const { data } = useQuery({
    queryKey: ["prompt", asked, unwanted, steps],
    queryFn: () => post<PromptReading>("/prompt", { prompt: asked, negative: unwanted, steps }),
    enabled: asked.trim() !== "" || unwanted.trim() !== "",
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });
  return asked.trim() || unwanted.trim() ? data : undefined;
}

/** The parts of a text as far as they are known: what was typed since is plain, what follows it keeps its parts. */
export function partsOf(text: string, known: PromptPart[]): PromptPart[] {
  const before: PromptPart[] = [];
  let start = 0;
  for (const part of known) {
    if (!text.startsWith(part.text, start)) break;
    before.push(part);
    start += part.text.length;
  }
  const after: PromptPart[] = [];
  let end = text.length;
  for (const part of known.slice(before.length).reverse()) {
    if (end - part.text.length < start || text.slice(end - part.text.length, end) !== part.text) break;
    after.unshift(part);
    end -= part.text.length;
  }
  const typed = text.slice(start, end);
  return [...before, ...(typed ? [{ text: typed, kind: "text", weight: 1 } as const] : []), ...after];
}
