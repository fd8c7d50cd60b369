import { QueryClient, queryOptions, useQuery } from "@tanstack/react-query";
import { ApiError, get, NO_ANSWER } from "./client";
import type { AuditReport, Dataset, Job, Losses, Me, Model, Options, Run, Sample, TemplateSet, Token, UsageRow } from "./types";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: true,
      retryDelay: 1_000,
      // What the server refuses stays refused; a server that starts again is waited for.
      retry: (count, error) => error instanceof ApiError && error.status === NO_ANSWER && count < 60,
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});

const isActive = (state: string) => ["waiting", "running", "stopping"].includes(state);

const KEPT_ME = "bakehouse.me";

/** Who was signed in last: the page opens with it while the server is away. What it may do, the server decides. */
function lastMe(): Me | undefined {
  try {
    return JSON.parse(localStorage.getItem(KEPT_ME) ?? "") as Me;
  } catch {
    return undefined;
  }
}

async function askMe(): Promise<Me> {
  try {
    const me = await get<Me>("/me");
    localStorage.setItem(KEPT_ME, JSON.stringify(me));
    return me;
  } catch (failed) {
    if (failed instanceof ApiError && failed.status === 401) localStorage.removeItem(KEPT_ME);
    throw failed;
  }
}

export const meQuery = queryOptions({ queryKey: ["me"], queryFn: askMe, initialData: lastMe, initialDataUpdatedAt: 0, retry: (count, error) => error instanceof ApiError && error.status === NO_ANSWER && count < 60 });
export const modelsQuery = queryOptions({ queryKey: ["models"], queryFn: async () => (await get<{ models: Model[] }>("/models")).models });
export const optionsQuery = queryOptions({ queryKey: ["options"], queryFn: () => get<Options>("/options"), staleTime: 600_000 });
export const templatesQuery = queryOptions({ queryKey: ["templates"], queryFn: async () => (await get<{ templates: TemplateSet[] }>("/templates")).templates, staleTime: Infinity });
export const jobsQuery = queryOptions({
  queryKey: ["jobs"],
  queryFn: async () => (await get<{ jobs: Job[] }>("/jobs", { limit: 30 })).jobs,
  refetchInterval: (query) => (query.state.data?.some((job) => isActive(job.state)) ? 2_000 : 30_000),
});
export const runsQuery = queryOptions({
  queryKey: ["runs"],
  queryFn: () => get<{ runs: Run[]; problem: string }>("/runs"),
  select: (found) => found.runs,
  refetchInterval: (query) => (query.state.data?.runs.some((run) => isActive(run.state)) ? 3_000 : 30_000),
});
export const runQuery = (name: string) => queryOptions({ queryKey: ["runs", name], queryFn: () => get<Run>(`/runs/${encodeURIComponent(name)}`), refetchInterval: (query) => (query.state.data && isActive(query.state.data.state) ? 15_000 : false) });
export const lossesQuery = (name: string) => queryOptions({ queryKey: ["losses", name], queryFn: () => get<Losses>(`/runs/${encodeURIComponent(name)}/losses`, { points: 500 }) });
export const samplesQuery = (name: string) => queryOptions({ queryKey: ["samples", name], queryFn: async () => (await get<{ samples: Sample[] }>(`/runs/${encodeURIComponent(name)}/samples`)).samples });
export const datasetsQuery = queryOptions({ queryKey: ["datasets"], queryFn: async () => (await get<{ datasets: Dataset[] }>("/datasets")).datasets });
export const datasetQuery = (name: string) => queryOptions({ queryKey: ["datasets", name], queryFn: () => get<Dataset>(`/datasets/${encodeURIComponent(name)}`) });
export const tagsQuery = (name: string) => queryOptions({ queryKey: ["tags", name], queryFn: async () => (await get<{ tags: { tag: string; count: number }[] }>(`/datasets/${encodeURIComponent(name)}/tags`)).tags });
export const auditQuery = (name: string) => queryOptions({ queryKey: ["audit", name], queryFn: () => get<{ report: AuditReport; stale: boolean; time: number }>(`/datasets/${encodeURIComponent(name)}/audit`) });
export const tokensQuery = queryOptions({ queryKey: ["tokens"], queryFn: async () => (await get<{ tokens: Token[] }>("/tokens")).tokens });
export const usageQuery = (month: string) => queryOptions({ queryKey: ["usage", month], queryFn: async () => (await get<{ usage: UsageRow[] }>("/usage", { month })).usage });

/** Whether the caller may do what a scope allows. */
export function useScope(scope: string): boolean {
  return useQuery(meQuery).data?.scopes.includes(scope) ?? false;
}
