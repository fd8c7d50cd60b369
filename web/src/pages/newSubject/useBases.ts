import { useQuery } from "@tanstack/react-query";
import { get } from "../../api/client";

interface Presets {
  default_base: string;
  bases: { name: string; served: boolean }[];
}

/** Names of the base models on the server, the served ones first. */
export function useBases(): string[] {
  const { data, isError } = useQuery({ queryKey: ["presets"], queryFn: () => get<Presets>("/recipe/presets"), staleTime: Infinity });
  if (isError) return ["crumb"]; // is always there
  const bases = data?.bases ?? [];
  return [...bases.filter((one) => one.served), ...bases.filter((one) => !one.served)].map((one) => one.name);
}
