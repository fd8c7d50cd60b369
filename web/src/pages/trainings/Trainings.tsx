import { ActionIcon, Alert, Button, Group, Stack, Title, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPlayerPlay, IconPlayerStop, IconPlus, IconScale, IconStack2 } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { runsQuery, useScope } from "../../api/queries";
import type { Run } from "../../api/types";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { Queue } from "./Queue";
import { RunRow } from "./RunRow";

export function Trainings() {
  const { t } = useTranslation();
  const mayTrain = useScope("train");
  const { data: runs = [], isPending, error, refetch } = useQuery(runsQuery);
  const { data: problem } = useQuery({ ...runsQuery, select: (found) => found.problem });
  const active = runs.filter((run) => ["running", "stopping"].includes(run.state));
  const waiting = runs.filter((run) => run.state === "waiting").sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
  const stopped = runs.filter((run) => run.state === "stopped" && run.job !== null);
  const ended = runs.filter((run) => ![...active, ...waiting, ...stopped].includes(run));
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
        {active.length > 0 && <Part title={t("trainings.now")}><Rows runs={active} mayTrain={mayTrain} /></Part>}
        {waiting.length > 0 && <Part title={t("trainings.waiting")}><Queue runs={waiting} canMove={mayTrain} /></Part>}
        {stopped.length > 0 && <Part title={t("runs.queue.stopped")}><Rows runs={stopped} mayTrain={mayTrain} /></Part>}
        {ended.length > 0 && <Part title={t("trainings.ended")}><Rows runs={ended} mayTrain={mayTrain} /></Part>}
      </Stack>
    </div>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return <section><Title order={2} fz={18} mb="sm">{title}</Title>{children}</section>;
}

function Rows({ runs, mayTrain }: { runs: Run[]; mayTrain: boolean }) {
  return (
    <Stack gap="xs">
      {runs.map((run) => (
        <Group key={run.name} wrap="nowrap" gap="xs">
          <div style={{ flex: 1, minWidth: 0 }}><RunRow run={run} /></div>
          {mayTrain && run.job !== null && <StopOrResume run={run} />}
        </Group>
      ))}
    </Stack>
  );
}

function StopOrResume({ run }: { run: Run }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const isRunning = run.state === "running";
  const act = useMutation({
    mutationFn: () => post(`/runs/${encodeURIComponent(run.name)}/${isRunning ? "stop" : "resume"}`),
    onSettled: () => client.invalidateQueries({ queryKey: ["runs"] }),
    onError: (error) => notifications.show({ color: "red", message: error.message }),
  });
  if (isRunning && run.job === null) return null; // it is stopped where it was started
  if (!isRunning && !["stopped", "failed", "stopping"].includes(run.state)) return null;
  const label = isRunning ? t("runs.queue.stop", { name: run.name }) : t("runs.queue.resume", { name: run.name });
  return (
    <Tooltip label={label}>
      <ActionIcon variant="default" size="lg" aria-label={label} onClick={() => act.mutate()} loading={act.isPending}>{isRunning ? <IconPlayerStop size={18} aria-hidden /> : <IconPlayerPlay size={18} aria-hidden />}</ActionIcon>
    </Tooltip>
  );
}
