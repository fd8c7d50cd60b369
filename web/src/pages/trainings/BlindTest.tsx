import { Button, Group, Kbd, SegmentedControl, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { IconArrowBackUp, IconArrowLeft, IconArrowRight, IconEqual } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { address, get, post, remove } from "../../api/client";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { type BlindTestState, type Contender, type Question, Results, useContenderName } from "./BlindResults";

interface Round {
  question: Question;
  first: string;
  second: string;
  seed: number;
}
type Choice = "left" | "right" | "same";

const KEYS: Record<string, Choice> = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "same" };

/** Two pictures of the evaluation at a time, without saying whose they are; the answers are counted beside the judge's figures. */
export function BlindTest({ run }: { run: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const place = `/runs/${encodeURIComponent(run)}/blind-test`;
  const test = useQuery({ queryKey: ["blind", run], queryFn: () => get<BlindTestState>(place) });
  const [round, setRound] = useState<Round | null>(null);
  if (test.error) return <ErrorState error={test.error} onRetry={() => void test.refetch()} />;
  if (!test.data) return <LoadingState what={t("runs.blind.loading")} />;
  const end = () => {
    setRound(null);
    void client.invalidateQueries({ queryKey: ["blind", run] });
  };
  return (
    <Stack gap="lg">
      {round ? <Asking key={round.seed} place={place} round={round} test={test.data} onEnd={end} /> : <Choose test={test.data} onStart={setRound} />}
      {!round && <Results test={test.data} />}
      {!round && <Group justify="flex-end"><ShowAsCode compact example={() => ({ method: "GET", path: place })} /></Group>}
    </Stack>
  );
}

function Choose({ test, onStart }: { test: BlindTestState; onStart: (round: Round) => void }) {
  const { t } = useTranslation();
  const name = useContenderName();
  const [question, setQuestion] = useState<Question>("subject");
  const [first, setFirst] = useState("base");
  const [second, setSecond] = useState(() => usual(test.contenders));
  const data = test.contenders.map((one) => ({ value: one.name, label: name(one) }));
  const start = () => onStart({ question, first, second, seed: crypto.getRandomValues(new Uint32Array(1))[0] ?? 0 });
  return (
    <>
      <Text c="dimmed">{t("runs.blind.text")}</Text>
      <SegmentedControl aria-label={t("runs.blind.question")} value={question} onChange={(value) => setQuestion(value as Question)} data={[{ value: "subject", label: t("runs.blind.questions.subject") }, { value: "better", label: t("runs.blind.questions.better") }]} style={{ alignSelf: "flex-start", maxWidth: "100%" }} />
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <Select label={t("runs.blind.one")} data={data} value={first} onChange={(value) => value && setFirst(value)} allowDeselect={false} error={first === second ? t("runs.blind.different") : undefined} />
        <Select label={t("runs.blind.other")} data={data} value={second} onChange={(value) => value && setSecond(value)} allowDeselect={false} />
      </SimpleGrid>
      <Group><Button onClick={start} disabled={first === second}>{t("runs.blind.start")}</Button></Group>
    </>
  );
}

/** What the evaluation picked, or else the state with the highest fidelity of those with most pictures. */
function usual(contenders: Contender[]): string {
  const cells = contenders.filter((one) => one.name !== "base");
  const most = Math.max(...cells.map((one) => one.images ?? 0));
  const best = cells.filter((one) => one.images === most).sort((a, b) => (b.fidelity?.value ?? -1) - (a.fidelity?.value ?? -1));
  return (cells.find((one) => one.picked) ?? best[0])?.name ?? "base";
}

interface Pair {
  number: number;
  prompt: string;
  answered: boolean;
}

function Asking({ place, round, test, onEnd }: { place: string; round: Round; test: BlindTestState; onEnd: () => void }) {
  const { t } = useTranslation();
  const pairs = useQuery({ queryKey: ["blind-pairs", place, round], queryFn: async () => (await get<{ pairs: Pair[] }>(`${place}/pairs`, { ...round })).pairs, staleTime: Infinity, gcTime: 0 });
  const [given, setGiven] = useState<string[]>([]);
  const holder = useRef<HTMLDivElement>(null);
  const open = pairs.data?.filter((pair) => !pair.answered) ?? [];
  const pair = open[given.length];
  const vote = useMutation({
    mutationFn: (choice: Choice) => post<{ id: string }>(`${place}/votes`, { ...round, number: pair?.number, choice }),
    onSuccess: ({ id }) => setGiven((was) => [...was, id]),
  });
  const back = useMutation({
    mutationFn: (id: string) => remove(`${place}/votes/${id}`),
    onSuccess: () => setGiven((was) => was.slice(0, -1)),
  });
  const isBusy = vote.isPending || back.isPending;
  const last = given.at(-1);
  const press = (event: KeyboardEvent) => {
    if (isBusy || event.altKey || event.ctrlKey || event.metaKey || document.querySelector("[role=dialog]")) return;
    const choice = KEYS[event.key];
    if (choice && pair) vote.mutate(choice);
    else if (event.key === "Backspace" && last) back.mutate(last);
    else if (event.key === "Escape") onEnd();
    else return;
    event.preventDefault();
  };
  const pressed = useRef(press);
  pressed.current = press;
  useEffect(() => {
    holder.current?.focus();
    const listen = (event: KeyboardEvent) => pressed.current(event);
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, []);
  const picture = (of: Pair, side: "left" | "right") => address(`${place}/pairs/${of.number}/${side}`, { first: round.first, second: round.second, seed: round.seed });
  const next = open[given.length + 1];
  return (
    <div ref={holder} tabIndex={-1} style={{ outline: "none" }} aria-label={t("runs.blind.title")} role="group">
      <ErrorState error={pairs.error ?? vote.error ?? back.error} />
      {pairs.isPending && <LoadingState what={t("runs.blind.loading")} />}
      {pair && (
        <>
          <Group justify="space-between" mb="sm"><Text fw={600} fz={18}>{t(`runs.blind.asks.${round.question}`)}</Text><Text c="dimmed" className="num" role="status">{t("runs.blind.progress", { number: given.length + 1, total: open.length })}</Text></Group>
          {round.question === "subject" && test.references.length > 0 && (
            <div style={{ marginBottom: 14 }}>
              <Text size="sm" c="dimmed" mb={6}>{test.held_out ? t("runs.blind.heldOut") : t("runs.blind.photos")}</Text>
              <div className="strip" tabIndex={0} role="group" aria-label={t("runs.blind.photos")}>{test.references.map((url) => <img key={url} src={url} alt="" width={84} height={84} style={{ objectFit: "cover", borderRadius: 9 }} />)}</div>
            </div>
          )}
          <Text size="sm" c="dimmed" mb="xs">{pair.prompt}</Text>
          <div className="two">
            {(["left", "right"] as const).map((side) => (
              <button key={`${pair.number}-${side}`} type="button" className="picture" style={{ aspectRatio: "1" }} disabled={isBusy} onClick={() => vote.mutate(side)} aria-label={t(`runs.blind.${side}`)}><img src={picture(pair, side)} alt="" /></button>
            ))}
          </div>
          {next && (["left", "right"] as const).map((side) => <link key={`${next.number}-${side}`} rel="prefetch" as="image" href={picture(next, side)} />)}
        </>
      )}
      {pairs.data && !pair && <Text fw={600} role="status">{open.length ? t("runs.blind.done", { count: open.length }) : pairs.data.length ? t("runs.blind.allAnswered") : t("runs.blind.noPairs")}</Text>}
      <Group justify="space-between" mt="md" gap="xs">
        <Group gap="xs">
          {pair && <Button variant="default" leftSection={<IconArrowLeft size={17} aria-hidden />} onClick={() => vote.mutate("left")} disabled={isBusy}>{t("runs.blind.left")}</Button>}
          {pair && <Button variant="default" leftSection={<IconEqual size={17} aria-hidden />} onClick={() => vote.mutate("same")} disabled={isBusy}>{t("runs.blind.same")}</Button>}
          {pair && <Button variant="default" rightSection={<IconArrowRight size={17} aria-hidden />} onClick={() => vote.mutate("right")} disabled={isBusy}>{t("runs.blind.right")}</Button>}
        </Group>
        <Group gap="xs">
          {last && <Button variant="subtle" color="gray" leftSection={<IconArrowBackUp size={17} aria-hidden />} onClick={() => back.mutate(last)} disabled={isBusy}>{t("runs.blind.back")}</Button>}
          <Button variant={pair ? "subtle" : "filled"} {...(pair ? { color: "gray" } : {})} onClick={onEnd}>{t("runs.blind.end")}</Button>
        </Group>
      </Group>
      {pair && <Text size="xs" c="dimmed" mt="sm" visibleFrom="sm">{t("runs.blind.keys")} <Kbd>←</Kbd> <Kbd>↓</Kbd> <Kbd>→</Kbd> <Kbd>⌫</Kbd></Text>}
    </div>
  );
}
