import { Badge, Button, Group, NumberInput, Select, SimpleGrid, Stack, Text, Textarea } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { IconCheck, IconSparkles, IconX } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { get, post } from "../../api/client";
import { runsQuery } from "../../api/queries";
import { useTask } from "../../api/tasks";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { TaskProgress } from "../../components/TaskProgress";
import { thumbnail } from "../newSubject/names";
import { useUndo } from "./useUndo";

interface Candidate {
  name: string;
  state: "waiting" | "added" | "refused";
  prompt: string;
  caption: string;
  fidelity: number | null;
  prompt_score: number | null;
  nearest: string | null;
}
interface CandidateSet {
  run: string;
  key: string;
  weights: string;
  strength: number;
  candidates: Candidate[];
  dropped: { name: string; prompt: string; reason: string }[];
}

/** Images that a run has drawn for a dataset: each is accepted or refused, and the accepted ones become one step. */
export function Candidates({ dataset }: { dataset: string }) {
  const { t } = useTranslation();
  const { data: sets = [], isPending, error, refetch } = useQuery({
    queryKey: ["candidates", dataset],
    queryFn: async () => (await get<{ sets: CandidateSet[] }>(`/datasets/${encodeURIComponent(dataset)}/candidates`)).sets,
  });
  const [index, setIndex] = useState(0);
  const set = sets[Math.min(index, sets.length - 1)];
  return (
    <Stack gap="lg">
      {isPending && <LoadingState what={t("canvas.set.drawn.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && sets.length === 0 && <EmptyState icon={IconSparkles} title={t("canvas.set.drawn.emptyTitle")}>{t("canvas.set.drawn.emptyText")}</EmptyState>}
      {sets.length > 1 && <Select w={280} label={t("canvas.set.drawn.set")} allowDeselect={false} value={String(index)} data={sets.map((one, i) => ({ value: String(i), label: `${one.run} · ${one.key}` }))} onChange={(value) => setIndex(Number(value))} />}
      {set && <Review key={`${set.run}/${set.key}`} dataset={dataset} set={set} />}
      <DrawMore dataset={dataset} onDrawn={() => void refetch()} />
    </Stack>
  );
}

function Review({ dataset, set }: { dataset: string; set: CandidateSet }) {
  const { t } = useTranslation();
  const { refresh, offer } = useUndo(dataset);
  const [answers, setAnswers] = useState<Record<string, boolean>>({});
  const [captions, setCaptions] = useState<Record<string, string>>({});
  const [at, setAt] = useState(0);
  const waiting = set.candidates.filter((one) => one.state === "waiting");
  const current = waiting[Math.min(at, waiting.length - 1)];
  const place = `/datasets/${encodeURIComponent(dataset)}/candidates/${encodeURIComponent(set.run)}/${encodeURIComponent(set.key)}`;
  const accepted = waiting.filter((one) => answers[one.name] === true).map((one) => one.name);
  const refused = waiting.filter((one) => answers[one.name] === false).map((one) => one.name);
  const changed = Object.fromEntries(accepted.flatMap((name) => (captions[name]?.trim() ? [[name, captions[name]]] : [])));
  const body = { accepted, refused, captions: changed };
  const save = useMutation({
    mutationFn: () => post<{ step: number | null }>(`${place}/accept`, body),
    onSuccess: async ({ step }) => {
      const count = accepted.length;
      setAnswers({});
      setAt(0);
      await refresh();
      if (step !== null) offer(t("canvas.set.drawn.added", { count }));
    },
  });
  const go = (by: number) => setAt((was) => Math.min(waiting.length - 1, Math.max(0, was + by)));
  const answer = (yes: boolean) => {
    if (!current) return;
    setAnswers((was) => ({ ...was, [current.name]: yes }));
    go(1);
  };
  useHotkeys([["A", () => answer(true)], ["R", () => answer(false)], ["ArrowLeft", () => go(-1)], ["ArrowRight", () => go(1)]]);
  const section = useRef<HTMLDivElement>(null);
  useEffect(() => section.current?.focus({ preventScroll: true }), []); // keys answer at once, not the control that led here
  const url = (name: string) => `/api/v1${place}/${encodeURIComponent(name)}`;
  return (
    <Stack ref={section} tabIndex={-1} style={{ outline: "none" }} gap="md" component="section" aria-label={t("canvas.set.drawn.review", { run: set.run })}>
      <Group justify="space-between">
        <Text fw={600} role="status">{waiting.length ? t("canvas.set.drawn.left", { count: waiting.length - accepted.length - refused.length }) : t("canvas.set.drawn.allAnswered")}</Text>
        {accepted.length + refused.length > 0 && (
          <Group gap="xs">
            <ShowAsCode compact example={() => ({ method: "POST", path: `${place}/accept`, body })} />
            <Button loading={save.isPending} onClick={() => save.mutate()}>{t("canvas.set.drawn.save", { accepted: accepted.length, refused: refused.length })}</Button>
          </Group>
        )}
      </Group>
      <ErrorState error={save.error} />
      {current && (
        <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg">
          <div className="picture" style={{ aspectRatio: "1", maxHeight: "60dvh" }}><img src={url(current.name)} alt={current.prompt} style={{ objectFit: "contain" }} /></div>
          <Stack gap="sm">
            <Textarea label={t("datasets.caption")} autosize minRows={2} value={captions[current.name] ?? current.caption} onChange={(event) => setCaptions({ ...captions, [current.name]: event.currentTarget.value })} />
            <Text size="sm" c="dimmed">{current.fidelity === null ? "" : t("canvas.set.drawn.fidelity", { score: current.fidelity.toFixed(2) })}</Text>
            {current.nearest && (
              <Group gap="sm" wrap="nowrap">
                <div className="thumb" style={{ width: 84 }}><img src={thumbnail(dataset, current.nearest, 256)} alt={current.nearest} /></div>
                <Text size="sm" c="dimmed">{t("canvas.set.drawn.nearest")}</Text>
              </Group>
            )}
            <Group gap="xs">
              <Button leftSection={<IconCheck size={17} aria-hidden />} onClick={() => answer(true)}>{t("canvas.set.drawn.accept")} <kbd aria-hidden>A</kbd></Button>
              <Button variant="default" leftSection={<IconX size={17} aria-hidden />} onClick={() => answer(false)}>{t("canvas.set.drawn.refuse")} <kbd aria-hidden>R</kbd></Button>
            </Group>
            <Text size="xs" c="dimmed">{t("canvas.set.drawn.keys")}</Text>
          </Stack>
        </SimpleGrid>
      )}
      <div className="grid" style={{ "--cell": "112px" } as React.CSSProperties}>
        {set.candidates.map((one) => {
          const given = one.state === "waiting" ? answers[one.name] : one.state === "added";
          const says = given === undefined ? t("canvas.set.drawn.state.waiting") : given ? t("canvas.set.drawn.state.added") : t("canvas.set.drawn.state.refused");
          return (
            <button key={one.name} type="button" className="picture" disabled={one.state !== "waiting"} style={{ aspectRatio: "1", outline: one === current ? "3px solid var(--mantine-primary-color-filled)" : undefined, opacity: given === false ? 0.45 : 1 }} aria-label={`${one.prompt}: ${says}`} aria-current={one === current || undefined} onClick={() => setAt(waiting.indexOf(one))}>
              <img src={url(one.name)} alt="" loading="lazy" decoding="async" />
              {given !== undefined && <Badge className="corner" variant="default" tt="none" style={{ position: "absolute", top: 6, right: 6 }}>{says}</Badge>}
            </button>
          );
        })}
      </div>
      {set.dropped.length > 0 && (
        <details><summary>{t("canvas.set.drawn.dropped", { count: set.dropped.length })}</summary>
          <ul style={{ marginTop: 6 }}>{set.dropped.map((one) => <li key={one.name}><Text size="sm" span>{one.prompt}: </Text><Text size="sm" c="dimmed" span>{one.reason}</Text></li>)}</ul>
        </details>
      )}
    </Stack>
  );
}

const COUNT = 12;

function DrawMore({ dataset, onDrawn }: { dataset: string; onDrawn: () => void }) {
  const { t } = useTranslation();
  const { data: runs = [] } = useQuery(runsQuery);
  const [chosen, setChosen] = useState<string | null>(null);
  const [count, setCount] = useState<number>(COUNT);
  const drawing = useTask(dataset, "extend", onDrawn);
  const evaluated = runs.filter((one) => one.report).map((one) => one.name);
  const run = chosen ?? evaluated[0] ?? null;
  const path = `/datasets/${encodeURIComponent(dataset)}/extend`;
  const body = { run, count };
  const start = async () => {
    await drawing.start(path, body);
    onDrawn();
  };
  if (drawing.task) return <div className="card"><TaskProgress task={drawing.task} what={t("canvas.set.drawn.drawing")} /></div>;
  if (evaluated.length === 0) return <Text size="sm" c="dimmed">{t("canvas.set.drawn.noRun")}</Text>;
  return (
    <div className="card">
      <Group align="flex-end" gap="sm">
        <Select label={t("canvas.set.drawn.run")} allowDeselect={false} data={evaluated} value={run} onChange={setChosen} />
        <NumberInput label={t("canvas.set.drawn.count")} w={110} min={1} max={1000} value={count} onChange={(value) => setCount(Number(value) || COUNT)} />
        <Button onClick={() => void start()}>{t("canvas.set.drawn.draw")}</Button>
        <ShowAsCode compact example={() => ({ command: `bakehouse dataset extend runs/${run} datasets/${dataset} -n ${count}`, method: "POST", path, body })} />
      </Group>
      <ErrorState error={drawing.error} />
    </div>
  );
}
