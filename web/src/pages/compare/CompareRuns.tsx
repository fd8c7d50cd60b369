import { MultiSelect, Stack, Text, Title } from "@mantine/core";
import { IconScale } from "@tabler/icons-react";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, type ReactNode, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { get } from "../../api/client";
import { lossesQuery, runsQuery, samplesQuery } from "../../api/queries";
import type { Run } from "../../api/types";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import type { Values } from "../recipe/schema";
import { RecipeDifferences } from "./RecipeDifferences";
import { SamplesByEpoch } from "./SamplesByEpoch";
import { type Scores, ScoreTable } from "./ScoreTable";

const LossCurves = lazy(() => import("./LossCurves").then((found) => ({ default: found.LossCurves })));
const MOST = 4;

/** Two to four trainings beside each other: settings that differ, losses, scores, samples of the same seeds. */
export function CompareRuns() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const search = useSearch({ strict: false }) as { runs?: unknown };
  const { data: runs, error, isPending, refetch } = useQuery(runsQuery);
  const wanted = Array.isArray(search.runs) ? search.runs.map(String) : [];
  const chosen = wanted.map((name) => runs?.find((run) => run.name === name)).filter((run) => run !== undefined).slice(0, MOST);
  const choose = (names: string[]) => void navigate({ to: "/compare", search: { runs: names } as never, replace: true });
  return (
    <div className="page">
      <PageHead title={t("runs.compare.title")} text={t("runs.compare.text")}>
        {chosen[0] && <ShowAsCode compact example={() => ({ method: "GET", path: `/runs/${encodeURIComponent(chosen[0]?.name ?? "")}/losses` })} />}
      </PageHead>
      {isPending && <LoadingState what={t("trainings.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {runs && (
        <Stack gap={34}>
          <MultiSelect label={t("runs.compare.choose")} description={t("runs.compare.chooseText")} data={runs.map((run) => run.name)} value={chosen.map((run) => run.name)} onChange={choose} maxValues={MOST} searchable clearable clearButtonProps={{ "aria-label": t("common.clear") }} placeholder={chosen.length < MOST ? t("runs.compare.name") : ""} />
          {chosen.length < 2 ? <EmptyState icon={IconScale} title={t("runs.compare.emptyTitle")}>{t("runs.compare.emptyText")}</EmptyState> : <Compared runs={chosen} />}
        </Stack>
      )}
    </div>
  );
}

function Compared({ runs }: { runs: Run[] }) {
  const { t } = useTranslation();
  const place = (run: Run) => `/runs/${encodeURIComponent(run.name)}`;
  const recipes = useQueries({ queries: runs.map((run) => ({ queryKey: ["recipe", run.name], queryFn: () => get<{ recipe: Values }>(`${place(run)}/recipe`) })) });
  const losses = useQueries({ queries: runs.map((run) => lossesQuery(run.name)) });
  const samples = useQueries({ queries: runs.map((run) => samplesQuery(run.name)) });
  const reports = useQueries({ queries: runs.map((run) => ({ queryKey: ["report", run.name], queryFn: () => get<{ scores: Scores }>(`${place(run)}/report`), enabled: run.report })) });
  const failed = [...recipes, ...losses, ...samples, ...reports].find((one) => one.error)?.error;
  const names = runs.map((run) => run.name);
  return (
    <>
      <ErrorState error={failed} />
      <Legend names={names} />
      <Part title={t("runs.compare.settings")}>{recipes.every((one) => one.data) ? <RecipeDifferences names={names} recipes={recipes.map((one) => one.data?.recipe ?? {})} /> : <LoadingState what={t("runs.form.loading")} />}</Part>
      <Part title={t("run.loss")}>
        {losses.every((one) => one.data)
          ? <Suspense fallback={<LoadingState what={t("loss.loading")} />}><LossCurves names={names} losses={losses.map((one) => one.data).filter((one) => one !== undefined)} /></Suspense>
          : <LoadingState what={t("loss.loading")} />}
      </Part>
      <Part title={t("runs.compare.scores")}><ScoreTable names={names} scores={reports.map((one) => one.data?.scores ?? null)} /></Part>
      <Part title={t("run.samples")}>{samples.every((one) => one.data) ? <SamplesByEpoch names={names} samples={samples.map((one) => one.data ?? [])} seeds={recipes.map((one) => seedOf(one.data?.recipe))} /> : <LoadingState what={t("runs.compare.loadingSamples")} />}</Part>
    </>
  );
}

const seedOf = (recipe: Values | undefined) => Number((recipe?.sample as Values | undefined)?.seed ?? 1);

function Part({ title, children }: { title: string; children: ReactNode }) {
  return <section><Title order={2} fz={18} mb="sm">{title}</Title><div className="card">{children}</div></section>;
}

/** Which line is whose. */
function Legend({ names }: { names: string[] }) {
  return <div className="run-legend">{names.map((name, i) => <Text key={name} size="sm" fw={600} span className="run-name"><RunMark number={i} />{name}</Text>)}</div>;
}

/** The line of a training as the curves draw it: a color, and dashes for those who do not see it. */
export function RunMark({ number }: { number: number }) {
  return <svg width="26" height="8" aria-hidden><line x1="0" y1="4" x2="26" y2="4" stroke={`var(--run-${number + 1})`} strokeWidth="3" strokeDasharray={DASHES[number]?.join(" ")} /></svg>;
}

export const DASHES: readonly (readonly number[])[] = [[], [9, 4], [3, 3], [12, 3, 3, 3]];
