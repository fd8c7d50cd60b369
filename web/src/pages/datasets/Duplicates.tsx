import { Button, Group, Stack, Text } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { IconArrowBackUp, IconCopyCheck, IconSearch } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { get, post } from "../../api/client";
import { useTask } from "../../api/tasks";
import type { DatasetImage } from "../../api/types";
import { bytesText } from "../../components/files";
import { EmptyState, ErrorState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { TaskProgress } from "../../components/TaskProgress";
import { thumbnail } from "../newSubject/names";
import type { Proposal } from "./CropTab";
import { useUndo } from "./useUndo";

interface Pair {
  left: string;
  right: string;
  why: string;
}
type Keep = "left" | "right" | "both";
interface Answer {
  pair: Pair;
  keep: Keep;
}

const keptBothKey = (dataset: string) => `bakehouse.keptBoth.${dataset}`;
const nameOf = ({ left, right }: Pair) => [left, right].sort().join("\n");

function keptBoth(dataset: string): string[] {
  try {
    return JSON.parse(localStorage.getItem(keptBothKey(dataset)) ?? "[]") as string[];
  } catch {
    return [];
  }
}

/** Two images that are the same picture, side by side: one of them stays, or both do. */
export function Duplicates({ dataset }: { dataset: string }) {
  const { t } = useTranslation();
  const looking = useTask(dataset, "preview");
  const [pairs, setPairs] = useState<Pair[] | null>(null);
  const place = `/datasets/${encodeURIComponent(dataset)}/operations`;
  const body = { operation: "dataset dedupe", arguments: [], preview: true };
  const look = async () => {
    const found = await looking.start<{ proposals: Proposal[] }>(place, body);
    if (!found) return;
    const known = new Set(keptBoth(dataset));
    setPairs(found.proposals.flatMap((one) => (one.source ? [{ left: one.source, right: one.path, why: one.why }] : [])).filter((pair) => !known.has(nameOf(pair))));
  };
  return (
    <Stack gap="md">
      <ErrorState error={looking.error} onRetry={() => void look()} />
      {looking.task && <div className="card"><TaskProgress task={looking.task} what={t("canvas.set.twins.looking")} /></div>}
      {pairs === null && !looking.task && (
        <EmptyState icon={IconCopyCheck} title={t("canvas.set.twins.title")}>
          {t("canvas.set.twins.text")}
          <Group justify="center" mt="md">
            <Button leftSection={<IconSearch size={17} aria-hidden />} onClick={() => void look()}>{t("canvas.set.twins.look")}</Button>
            <ShowAsCode compact example={() => ({ command: `bakehouse dataset dedupe datasets/${dataset} --dry-run`, method: "POST", path: place, body })} />
          </Group>
        </EmptyState>
      )}
      {pairs && <Review key={pairs.length} dataset={dataset} pairs={pairs} onAgain={() => void look()} />}
    </Stack>
  );
}

function Review({ dataset, pairs, onAgain }: { dataset: string; pairs: Pair[]; onAgain: () => void }) {
  const { t } = useTranslation();
  const { refresh, undo } = useUndo(dataset);
  const [answers, setAnswers] = useState<Answer[]>([]);
  const gone = new Set(answers.flatMap(({ pair, keep }) => (keep === "left" ? [pair.right] : keep === "right" ? [pair.left] : [])));
  const done = new Set(answers.map(({ pair }) => pair));
  const open = pairs.filter((pair) => !done.has(pair) && !gone.has(pair.left) && !gone.has(pair.right));
  const pair = open[0];
  const answer = useMutation({
    mutationFn: async (given: Answer) => {
      if (given.keep === "both") localStorage.setItem(keptBothKey(dataset), JSON.stringify([...keptBoth(dataset), nameOf(given.pair)]));
      else {
        const { left, right } = given.pair;
        await post(`/datasets/${encodeURIComponent(dataset)}/keep`, given.keep === "left" ? { keep: left, drop: right } : { keep: right, drop: left });
      }
      return given;
    },
    onSuccess: (given) => {
      setAnswers((was) => [...was, given]);
      // Not waited for: the next key may come at once.
      if (given.keep !== "both") void refresh();
    },
  });
  const back = useMutation({
    mutationFn: async () => {
      const last = answers.at(-1);
      if (!last) return;
      if (last.keep === "both") localStorage.setItem(keptBothKey(dataset), JSON.stringify(keptBoth(dataset).filter((name) => name !== nameOf(last.pair))));
      else await undo();
      setAnswers((was) => was.slice(0, -1));
    },
  });
  const isBusy = answer.isPending || back.isPending;
  const keep = (which: Keep) => pair && !isBusy && answer.mutate({ pair, keep: which });
  const takeBack = () => answers.length > 0 && !isBusy && back.mutate();
  useHotkeys([["ArrowLeft", () => keep("left")], ["ArrowRight", () => keep("right")], ["ArrowDown", () => keep("both")], ["mod+Z", takeBack]]);
  return (
    <Stack gap="md" component="section" aria-label={t("canvas.set.twins.title")}>
      <Group justify="space-between">
        <Text fw={600} role="status">{pair ? t("canvas.set.twins.left", { count: open.length }) : t("canvas.set.twins.none")}</Text>
        <Group gap="xs">
          {answers.length > 0 && <Button variant="default" leftSection={<IconArrowBackUp size={17} aria-hidden />} loading={back.isPending} onClick={takeBack}>{t("canvas.set.twins.back")}</Button>}
          {!pair && <Button variant="default" onClick={onAgain}>{t("canvas.set.twins.again")}</Button>}
        </Group>
      </Group>
      <ErrorState error={answer.error ?? back.error} />
      {pair && (
        <>
          <Text size="sm" c="dimmed">{pair.why}</Text>
          <div className="twins">
            <Side dataset={dataset} path={pair.left} />
            <Side dataset={dataset} path={pair.right} />
          </div>
          <div className="twins-buttons">
            <Button disabled={isBusy} onClick={() => keep("left")}>{t("canvas.set.twins.keepLeft")} <kbd aria-hidden>←</kbd></Button>
            <Button disabled={isBusy} variant="default" onClick={() => keep("both")}>{t("canvas.set.twins.keepBoth")} <kbd aria-hidden>↓</kbd></Button>
            <Button disabled={isBusy} onClick={() => keep("right")}>{t("canvas.set.twins.keepRight")} <kbd aria-hidden>→</kbd></Button>
          </div>
        </>
      )}
    </Stack>
  );
}

function Side({ dataset, path }: { dataset: string; path: string }) {
  const { t, i18n } = useTranslation();
  const { data: image } = useQuery({
    queryKey: ["datasets", dataset, "image", path],
    queryFn: async () => (await get<{ images: DatasetImage[] }>(`/datasets/${encodeURIComponent(dataset)}/images`, { q: path, limit: 50 })).images.find((one) => one.path === path) ?? null,
  });
  return (
    <figure style={{ margin: 0, minWidth: 0 }}>
      <div className="picture" style={{ aspectRatio: "1" }}><img src={thumbnail(dataset, path, 1024, image?.changed)} alt={image?.caption ?? path} style={{ objectFit: "contain" }} /></div>
      <figcaption>
        <Text fw={600} size="sm" mt={8} truncate>{path}</Text>
        <Text size="sm" c="dimmed" className="num">{image ? `${image.width} × ${image.height} · ${bytesText(image.bytes, i18n.language)}` : "…"}</Text>
        <Text size="sm" lineClamp={4}>{image?.caption || (image && t("datasets.noCaption"))}</Text>
      </figcaption>
    </figure>
  );
}
