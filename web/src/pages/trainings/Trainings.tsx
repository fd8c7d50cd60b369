import { ActionIcon, Alert, Button, Group, Stack, Title, Tooltip } from "@mantine/core";
import { IconArrowUp, IconPlus, IconScale, IconStack2 } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { runsQuery, useScope } from "../../api/queries";
import type { Run } from "../../api/types";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { RunRow } from "./RunRow";

export function Trainings() {
  const { t } = useTranslation();
  const mayTrain = useScope("train");
  const { data: runs = [], isPending, error, refetch } = useQuery(runsQuery);
  const { data: problem } = useQuery({ ...runsQuery, select: (found) => found.problem });
  const active = runs.filter((run) => ["running", "stopping"].includes(run.state));
  const waiting = runs.filter((run) => run.state === "waiting").sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
  const ended = runs.filter((run) => !active.includes(run) && !waiting.includes(run));
  return (
    <div className="page">
      <PageHead title={t("trainings.title")} text={t("trainings.text")}>
        <ShowAsCode compact example={() => ({ command: "bakehouse queue list", method: "GET", path: "/runs" })} />
        {mayTrain && runs.length > 1 && <Button component={Link} {...({ to: "/compare", search: { runs: runs.filter((run) => run.step > 0).slice(0, 2).map((run) => run.name) } } as object)} variant="default" leftSection={<IconScale size={17} aria-hidden />}>{t("runs.compare.button")}</Button>}
        {mayTrain && <Button component={Link} to="/new" leftSection={<IconPlus size={17} aria-hidden />}>{t("nav.new")}</Button>}
      </PageHead>
      {isPending && <LoadingState what={t("trainings.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {problem && <Alert color="orange" mb="md" role="alert">{problem}</Alert>}
      {!isPending && !error && runs.length === 0 && <EmptyState icon={IconStack2} title={t("trainings.emptyTitle")}>{t("trainings.emptyText")}</EmptyState>}
      <Stack gap="xl">
        <Part title={t("trainings.now")} runs={active} />
        <Part title={t("trainings.waiting")} runs={waiting} canMove={mayTrain} />
        <Part title={t("trainings.ended")} runs={ended} />
      </Stack>
    </div>
  );
}

function Part({ title, runs, canMove = false }: { title: string; runs: Run[]; canMove?: boolean }) {
  if (runs.length === 0) return null;
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{title}</Title>
      <Stack gap="xs">
        {runs.map((run, i) => (
          <Group key={run.name} wrap="nowrap" gap="xs">
            <div style={{ flex: 1, minWidth: 0 }}><RunRow run={run} /></div>
            {canMove && i > 0 && <Earlier run={run} place={i} />}
          </Group>
        ))}
      </Stack>
    </section>
  );
}

function Earlier({ run, place }: { run: Run; place: number }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const move = useMutation({ mutationFn: () => post(`/runs/${encodeURIComponent(run.name)}/move`, { place }), onSettled: () => client.invalidateQueries({ queryKey: ["runs"] }) });
  return (
    <Tooltip label={t("trainings.earlier")}>
      <ActionIcon variant="default" size="lg" aria-label={t("trainings.earlierOf", { name: run.name })} onClick={() => move.mutate()} loading={move.isPending}><IconArrowUp size={18} aria-hidden /></ActionIcon>
    </Tooltip>
  );
}
