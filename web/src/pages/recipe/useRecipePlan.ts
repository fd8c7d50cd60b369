import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useRef } from "react";
import { ApiError, get, NO_ANSWER, post } from "../../api/client";
import type { Plan } from "../../api/types";
import { quoted } from "../../components/code";
import { type Schema, toml, type Values } from "./schema";

const TYPING_MS = 500;

export const schemaQuery = { queryKey: ["recipe-schema"], queryFn: () => get<Schema>("/recipe/schema"), staleTime: Infinity };

export interface RecipePlan {
  /** What `POST /plans` and `POST /runs` were asked for. */
  body: Values;
  /** The plan of the settings, or while they are wrong or looked at, the last one. */
  plan: Plan | null;
  /** The plan without any setting of the user's. */
  preset: Plan | null;
  error: unknown;
  /** Whether the plan is that of the settings as they are now. */
  isCurrent: boolean;
  retry: () => void;
}

/** Plan a training again whenever its settings change. */
export function useRecipePlan(asked: Values, settings: Values): RecipePlan {
  const [wanted] = useDebouncedValue(settings, TYPING_MS);
  const body = Object.keys(wanted).length ? { ...asked, settings: wanted } : asked;
  const ask = (of: Values) => ({
    queryKey: ["plan", of],
    queryFn: () => post<Plan>("/plans", of),
    retry: (count: number, error: Error) => error instanceof ApiError && error.status === NO_ANSWER && count < 60,
  });
  const plan = useQuery(ask(body));
  const preset = useQuery(ask(asked));
  const last = useRef<Plan | null>(null);
  if (plan.data) last.current = plan.data;
  return {
    body,
    plan: plan.data ?? last.current,
    preset: preset.data ?? null,
    error: plan.error,
    isCurrent: plan.data !== undefined && wanted === settings && !plan.isError,
    retry: () => void plan.refetch(),
  };
}

/** Settings as options of a command. */
export const setOptions = (settings: Values) =>
  Object.entries(settings).map(([key, value]) => ` --set ${quoted(`${key}=${toml(value)}`)}`).join("");
