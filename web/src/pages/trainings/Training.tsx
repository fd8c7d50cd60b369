import { Alert, Button, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconAdjustmentsHorizontal, IconBrush, IconDownload, IconPlayerPlay, IconPlayerStop, IconShare2, IconUpload } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { lazy, type ReactNode, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import { address, post } from "../../api/client";
import { useEvents } from "../../api/events";
import { lossesQuery, runQuery, useScope } from "../../api/queries";
import type { Model, Run } from "../../api/types";
import { ErrorState, LoadingState } from "../../components/States";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { changeDraft } from "../generate/draft";
import { Evaluation } from "./Evaluation";
import { RunState, useRunLine } from "./RunRow";
import { SampleStrip } from "./SampleStrip";

const BlindTest = lazy(() => import("./BlindTest").then((found) => ({ default: found.BlindTest })));
const EditRecipe = lazy(() => import("./EditRecipe").then((found) => ({ default: found.EditRecipe })));
const LossChart = lazy(() => import("./LossChart").then((found) => ({ default: found.LossChart })));

export function Training() {
  const { t } = useTranslation();
  const { name } = useParams({ strict: false }) as { name: string };
  const { data: run, isPending, error, refetch } = useQuery(runQuery(name));
  const isActive = run !== undefined && ["waiting", "running", "stopping"].includes(run.state);
  const doing = useRunEvents(name, isActive);
  const mayTrain = useScope("train");
  if (isPending) return <LoadingState what={t("run.loading")} />;
  if (!run) return <div className="page"><PageHead title={name} /><ErrorState error={error} onRetry={() => void refetch()} /></div>;
  return (
    <div className="page">
      <PageHead title={run.name} text={<RunState run={run} />}><Actions run={run} /></PageHead>
      <Stack gap={34}>
        <Progress run={run} doing={doing} />
        {run.started === null && run.job !== null && mayTrain && <Section title={t("runs.form.editTitle")}><Suspense fallback={<LoadingState what={t("runs.form.loading")} />}><EditRecipe run={run} /></Suspense></Section>}
        <Section title={t("run.samples")}><SampleStrip run={name} isActive={isActive} /></Section>
        <Section title={t("run.loss")}><Curve name={name} isActive={isActive} /></Section>
        {run.weights.length > 0 && <Evaluation run={run} />}
        {run.report && mayTrain && run.kind !== "slider" && <Section title={t("runs.blind.title")}><Suspense fallback={<LoadingState what={t("runs.blind.loading")} />}><BlindTest run={run.name} /></Suspense></Section>}
        {run.weights.length > 0 && <Section title={t("run.files")}><Files run={run} /></Section>}
      </Stack>
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return <section><Title order={2} fz={18} mb="sm">{title}</Title><div className="card">{children}</div></section>;
}

const EVENTS = ["progress", "started", "step", "sampled", "state"] as const;

interface RunEvent {
  step?: number;
  loss?: number;
  run?: Run;
  what?: string;
  done?: number;
  total?: number;
}

/** Keep a training's row as its events say. The curve and the samples are fetched again when they have changed. */
export function useRunEvents(name: string, isActive: boolean): RunEvent | null {
  const client = useQueryClient();
  const [doing, setDoing] = useState<RunEvent | null>(null);
  useEvents(isActive ? address(`/runs/${encodeURIComponent(name)}/events`, { steps: 20 }) : null, EVENTS, (kind, data) => {
    const event = data as RunEvent;
    if (kind === "progress") setDoing(event);
    if (kind === "started" || kind === "step") setDoing(null);
    if (kind === "step") client.setQueryData(runQuery(name).queryKey, (was) => was && { ...was, step: event.step ?? was.step, loss: event.loss ?? was.loss });
    if (kind === "sampled") void client.invalidateQueries({ queryKey: ["samples", name] });
    if (kind === "state" && event.run) {
      client.setQueryData(runQuery(name).queryKey, event.run);
      void client.invalidateQueries({ queryKey: ["runs"] });
      void client.invalidateQueries({ queryKey: ["losses", name] });
      return ["waiting", "running", "stopping"].includes(event.run.state);
    }
    return true;
  });
  return isActive ? doing : null;
}

export function Progress({ run, doing }: { run: Run; doing: RunEvent | null }) {
  const { t } = useTranslation();
  const line = useRunLine();
  const percent = run.steps ? Math.round((100 * run.step) / run.steps) : 0;
  if (run.state === "failed") return <Alert color="red" title={run.error} role="alert" />;
  return (
    <div className="card">
      <Group justify="space-between" mb={8} wrap="nowrap" align="flex-start"><Text className="num" role="status">{run.state === "running" && run.step === 0 && doing?.total ? t("task.counted", { what: doing.what, done: doing.done, total: doing.total }) : line(run)}</Text><Text fw={600} className="num" style={{ whiteSpace: "nowrap" }}>{percent} %</Text></Group>
      <div className="bar" role="progressbar" aria-label={line(run)} aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100}><div style={{ width: `${percent}%` }} /></div>
    </div>
  );
}

export function Actions({ run, isSlider = false }: { run: Run; isSlider?: boolean }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const navigate = useNavigate();
  const mayTrain = useScope("train");
  const isAdmin = useScope("admin");
  const place = `/runs/${encodeURIComponent(run.name)}`;
  const refresh = () => client.invalidateQueries({ queryKey: ["runs"] });
  const stop = useMutation({ mutationFn: () => post(`${place}/stop`), onSettled: refresh });
  const resume = useMutation({ mutationFn: () => post(`${place}/resume`), onSettled: refresh });
  const serve = async () => run.served ?? (await post<Model>(`${place}/serve`)).name;
  const share = useMutation({
    mutationFn: serve,
    onSuccess: async (model) => {
      await Promise.all([refresh(), client.invalidateQueries({ queryKey: ["models"] })]);
      await navigate({ to: "/shares", search: { model } as never });
    },
  });
  const use = useMutation({
    mutationFn: serve,
    onSuccess: async (model) => {
      await Promise.all([refresh(), client.invalidateQueries({ queryKey: ["models"] })]);
      changeDraft({ model, strengths: {} });
      await navigate({ to: "/generate" });
    },
  });
  const failed = stop.error ?? resume.error ?? use.error ?? share.error;
  if (failed) notifications.show({ id: `failed-${run.name}`, color: "red", message: failed.message });
  const isActive = ["waiting", "running"].includes(run.state);
  return (
    <>
      <ShowAsCode compact example={() => ({ command: `bakehouse generate runs/${run.name} "a picture of it"`, method: "GET", path: place })} />
      {mayTrain && run.kind === "slider" && !isSlider && <Button component={Link} to={`/sliders/${encodeURIComponent(run.name)}`} variant="default" leftSection={<IconAdjustmentsHorizontal size={17} aria-hidden />}>{t("pages.nav.slider")}</Button>}
      {mayTrain && run.weights.length > 0 && !isActive && <Button component={Link} to={`/trainings/${encodeURIComponent(run.name)}/publish`} variant="default" leftSection={<IconUpload size={17} aria-hidden />}>{t("pages.nav.publish")}</Button>}
      {mayTrain && isActive && run.job !== null && <Button variant="default" leftSection={<IconPlayerStop size={17} aria-hidden />} onClick={() => stop.mutate()} loading={stop.isPending}>{t("run.stop")}</Button>}
      {mayTrain && ["stopped", "failed"].includes(run.state) && <Button variant={run.weights.length ? "default" : "filled"} leftSection={<IconPlayerPlay size={17} aria-hidden />} onClick={() => resume.mutate()} loading={resume.isPending}>{t("run.resume")}</Button>}
      {isAdmin && mayTrain && run.weights.length > 0 && !isActive && <Button variant="default" leftSection={<IconShare2 size={17} aria-hidden />} onClick={() => share.mutate()} loading={share.isPending}>{t("share.nav")}</Button>}
      {mayTrain && run.weights.length > 0 && !isActive && <Button leftSection={<IconBrush size={17} aria-hidden />} onClick={() => use.mutate()} loading={use.isPending}>{t("run.draw")}</Button>}
      {!mayTrain && run.served && <Button component={Link} to="/generate" onClick={() => changeDraft({ model: run.served })} leftSection={<IconBrush size={17} aria-hidden />}>{t("run.draw")}</Button>}
    </>
  );
}

function Curve({ name, isActive }: { name: string; isActive: boolean }) {
  const { t } = useTranslation();
  const { data, error, isPending } = useQuery({ ...lossesQuery(name), refetchInterval: isActive ? 5_000 : false });
  if (isPending) return <LoadingState what={t("loss.loading")} />;
  if (error) return <ErrorState error={error} />;
  if (data.step.length < 2) return <Text c="dimmed">{t("loss.none")}</Text>;
  return <Suspense fallback={<LoadingState what={t("loss.loading")} />}><LossChart losses={data} /></Suspense>;
}

function Files({ run }: { run: Run }) {
  const { t } = useTranslation();
  return (
    <>
      <Text c="dimmed" mb="sm">{t("run.filesText")}</Text>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="xs">
        {run.weights.map((file) => (
          <Button key={file} component="a" href={address(`/runs/${encodeURIComponent(run.name)}/weights/${encodeURIComponent(file)}`)} download variant="default" justify="flex-start" leftSection={<IconDownload size={17} aria-hidden />} styles={{ label: { overflow: "hidden", textOverflow: "ellipsis" } }}>{file}</Button>
        ))}
      </SimpleGrid>
    </>
  );
}
