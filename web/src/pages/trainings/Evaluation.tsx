import { Anchor, Button, Group, Stack, Text, Title } from "@mantine/core";
import { IconExternalLink, IconScale } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { address, encodePath, get } from "../../api/client";
import { useScope } from "../../api/queries";
import { useTask } from "../../api/tasks";
import type { Run } from "../../api/types";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { TaskProgress } from "../../components/TaskProgress";

interface Report {
  scores: {
    verdict?: { word: string; why: string; mend: string };
    pick?: { weights: string; weight: number; epoch: number; why: string };
  };
  files: string[];
}

/** What the evaluation says: the verdict, which weights it picks and why, and its pictures. */
export function Evaluation({ run }: { run: Run }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const mayTrain = useScope("train");
  const refresh = async () => {
    await client.invalidateQueries({ queryKey: ["runs"] });
    await client.invalidateQueries({ queryKey: ["report", run.name] });
  };
  const task = useTask(run.name, "evaluate", refresh);
  const place = `/runs/${encodeURIComponent(run.name)}`;
  const report = useQuery({ queryKey: ["report", run.name], queryFn: () => get<Report>(`${place}/report`), enabled: run.report });
  const evaluate = async () => {
    await task.start(`${place}/evaluate`, {});
    await refresh();
  };
  const file = (name: string) => address(`${place}/report/${encodePath(name)}`);
  const files = report.data?.files ?? [];
  const pictures = files.filter((one) => one === "grid.png");
  const page = files.find((one) => one.endsWith(".html"));
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("evaluation.title")}</Title>
      <Stack className="card" gap="md">
        {!run.report && !task.task && <Text c="dimmed">{t("evaluation.text")}</Text>}
        <TaskProgress task={task.task} what={t("evaluation.working")} />
        <ErrorState error={task.error ?? report.error} />
        {run.report && report.isPending && <LoadingState what={t("evaluation.loading")} />}
        {report.data && <Verdict scores={report.data.scores} />}
        {pictures.map((one) => <img key={one} src={file(one)} alt={t("evaluation.grid")} style={{ maxWidth: "100%", borderRadius: 10 }} loading="lazy" />)}
        <Group gap="xs">
          {mayTrain && <Button variant={run.report ? "default" : "filled"} leftSection={<IconScale size={17} aria-hidden />} onClick={() => void evaluate()} loading={task.task !== null}>{run.report ? t("evaluation.again") : t("evaluation.start")}</Button>}
          {page && <Anchor href={file(page)} target="_blank" rel="noopener"><Group gap={5}>{t("evaluation.page")}<IconExternalLink size={15} aria-hidden /></Group></Anchor>}
          <ShowAsCode compact example={() => ({ command: `bakehouse evaluate runs/${run.name}`, method: "POST", path: `${place}/evaluate`, body: {} })} />
        </Group>
      </Stack>
    </section>
  );
}

function Verdict({ scores: { verdict, pick } }: { scores: Report["scores"] }) {
  const { t } = useTranslation();
  return (
    <>
      {verdict && <div><Text fz={19} fw={600} className="sentence">{verdict.word}</Text><Text className="sentence">{verdict.why}</Text>{verdict.mend && <Text mt={4} className="sentence">{verdict.mend}</Text>}</div>}
      {pick?.weights && (
        <div>
          <Text fw={600}>{t("evaluation.pick")}</Text>
          <Text>{t("evaluation.picked", { file: pick.weights.split("/").at(-1), epoch: pick.epoch, strength: pick.weight })}</Text>
          <Text c="dimmed" className="sentence">{pick.why}</Text>
        </div>
      )}
    </>
  );
}
