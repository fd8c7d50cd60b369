import { Anchor, Button, Group, Stack, Text, Title } from "@mantine/core";
import { IconExternalLink, IconScale } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { address, get } from "../../api/client";
import { useScope } from "../../api/queries";
import { useTask } from "../../api/tasks";
import type { Run } from "../../api/types";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { TaskProgress } from "../../components/TaskProgress";

interface Report {
  verdict: string;
  pick: Record<string, unknown> | null;
  files: string[];
}

/** What the evaluation says: the verdict, which weights it picks and why, and its pictures. */
export function Evaluation({ run }: { run: Run }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const mayTrain = useScope("train");
  const task = useTask();
  const place = `/runs/${encodeURIComponent(run.name)}`;
  const report = useQuery({ queryKey: ["report", run.name], queryFn: () => get<Report>(`${place}/report`), enabled: run.report });
  const evaluate = async () => {
    await task.start(`${place}/evaluate`, {});
    await client.invalidateQueries({ queryKey: ["runs"] });
    await client.invalidateQueries({ queryKey: ["report", run.name] });
  };
  const file = (name: string) => address(`${place}/report/${encodeURIComponent(name)}`);
  const files = report.data?.files ?? [];
  const pictures = files.filter((one) => /\.(png|webp|jpe?g)$/i.test(one));
  const page = files.find((one) => one.endsWith(".html"));
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("evaluation.title")}</Title>
      <Stack className="card" gap="md">
        {!run.report && !task.task && <Text c="dimmed">{t("evaluation.text")}</Text>}
        <TaskProgress task={task.task} what={t("evaluation.working")} />
        <ErrorState error={task.error ?? report.error} />
        {run.report && report.isPending && <LoadingState what={t("evaluation.loading")} />}
        {report.data && <Text fz={17}>{report.data.verdict}</Text>}
        {report.data?.pick && <Pick pick={report.data.pick} />}
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

function Pick({ pick }: { pick: Record<string, unknown> }) {
  const { t } = useTranslation();
  const reason = typeof pick.reason === "string" ? pick.reason : typeof pick.why === "string" ? pick.why : "";
  return (
    <div>
      <Text fw={600}>{t("evaluation.pick")}</Text>
      <Text c="dimmed">{[pick.file ?? pick.name ?? pick.weights ?? pick.checkpoint, reason].filter(Boolean).map(String).join(": ")}</Text>
    </div>
  );
}
