import { Badge, Button, Code, Collapse, Group, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconCheck, IconTool } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, post } from "../../api/client";
import { auditQuery } from "../../api/queries";
import { useTask } from "../../api/tasks";
import type { Finding } from "../../api/types";
import { ErrorState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ProgressLine, TaskProgress } from "../../components/TaskProgress";
import { thumbnail } from "../newSubject/names";
import { useBases } from "../newSubject/useBases";

/**
 * What is wrong with a dataset, and one button that mends what can be mended. Each mend can be undone. While somebody
 * edits an image (`paused`) the dataset is not looked at again: its commands run one at a time.
 */
export function Findings({ dataset, stamp, paused = false }: { dataset: string; stamp: number; paused?: boolean }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const audit = useTask(dataset, "audit", () => client.invalidateQueries({ queryKey: ["audit", dataset] }));
  const mend = useTask(dataset, "operation", () => client.invalidateQueries({ queryKey: ["audit", dataset] }));
  const place = `/datasets/${encodeURIComponent(dataset)}`;
  const known = useQuery({ ...auditQuery(dataset), retry: false });
  const looked = useRef<number | null>(null);
  const [base] = useBases();

  const look = useCallback(async () => {
    await audit.start(`${place}/audit`, base ? { base } : {});
    await client.invalidateQueries({ queryKey: ["audit", dataset] });
  }, [audit.start, base, client, dataset, place]);

  const isMissing = known.error instanceof ApiError && known.error.status === 404;
  const isStale = known.data?.stale ?? false;
  const isReady = !paused && base !== undefined && !audit.isChecking && !mend.isChecking && !audit.task && !mend.task;
  useEffect(() => {
    if (isReady && (isMissing || isStale) && looked.current !== stamp) {
      looked.current = stamp;
      void look();
    }
  }, [isReady, isMissing, isStale, stamp, look]);

  const findings = known.data?.report.findings ?? [];
  // Commands that no request may run, such as `plan`, have no operation: they are only shown.
  const mendable = findings.filter((one) => one.fix?.operation);
  const mendAll = async () => {
    let steps = 0;
    for (const finding of mendable) {
      if (!finding.fix?.operation) continue;
      const result = await mend.start<{ step: number | null }>(`${place}/operations`, { operation: finding.fix.operation, arguments: finding.fix.arguments, preview: false });
      if (result?.step != null) steps += 1;
    }
    await client.invalidateQueries({ queryKey: ["datasets"] });
    await look();
    if (steps) offerUndo(steps);
  };
  const offerUndo = (steps: number) => {
    const id = `mended-${dataset}`;
    const undo = async () => {
      notifications.hide(id);
      for (let i = 0; i < steps; i += 1) await post(`${place}/undo`, {});
      await client.invalidateQueries({ queryKey: ["datasets"] });
      await look();
    };
    notifications.show({ id, autoClose: 15_000, title: t("findings.mended"), message: <Button mt={6} size="compact-sm" variant="default" onClick={() => void undo()}>{t("common.undo")}</Button> });
  };

  const isLooking = audit.task !== null || known.isPending || (isMissing && looked.current !== stamp && !audit.error);
  if (isLooking && !audit.task) return <div className="card"><ProgressLine says={t("findings.looking")} percent={null} /></div>;
  if (audit.task) return <div className="card"><TaskProgress task={audit.task} what={t("findings.looking")} /></div>;
  if (mend.task) return <div className="card"><TaskProgress task={mend.task} what={t("findings.mending", { command: mend.task.title })} /></div>;
  return (
    <div className="card">
      <ErrorState error={mend.error ?? audit.error ?? (isMissing ? null : known.error)} onRetry={() => void look()} />
      {known.data && findings.length === 0 && (
        <Group gap="sm" wrap="nowrap"><IconCheck color="var(--good)" aria-hidden /><Text>{t("findings.none")}</Text></Group>
      )}
      {findings.length > 0 && (
        <Stack gap="sm">
          <Group justify="space-between">
            <Text fw={600}>{t("findings.title", { count: findings.length })}</Text>
            {mendable.length > 0 && (
              <Group gap="xs">
                <ShowAsCode compact example={() => ({ command: mendable.map((one) => one.fix?.command).join("\n"), method: "POST", path: `${place}/operations`, body: { operation: mendable[0]?.fix?.operation, arguments: mendable[0]?.fix?.arguments, preview: false } })} />
                <Button leftSection={<IconTool size={17} aria-hidden />} onClick={() => void mendAll()}>{mendable.length === findings.length ? t("findings.mendAll") : t("findings.mend", { count: mendable.length, total: findings.length })}</Button>
              </Group>
            )}
          </Group>
          {findings.map((one) => <FindingRow key={one.id + one.files.join()} dataset={dataset} finding={one} />)}
        </Stack>
      )}
    </div>
  );
}

const COLORS: Record<string, string> = { error: "var(--bad)", warning: "var(--advice)", info: "var(--mantine-color-text)" };

function FindingRow({ dataset, finding }: { dataset: string; finding: Finding }) {
  const { t } = useTranslation();
  const [opened, { toggle }] = useDisclosure();
  const level = finding.level.toLowerCase();
  const label = level === "error" ? t("findings.error") : level === "info" ? t("findings.info") : t("findings.warning");
  return (
    <div style={{ borderTop: "1px solid var(--line)", paddingTop: 10 }}>
      <Group wrap="nowrap" align="flex-start" gap="sm">
        <Badge variant="default" tt="none" mt={2} style={{ flexShrink: 0, color: COLORS[level] ?? "var(--advice)", background: "var(--surface-2)", borderColor: "transparent" }}>{label}</Badge>
        <div style={{ minWidth: 0, flex: 1 }}>
          <Text fw={500} className="sentence">{finding.title}</Text>
          <Text size="sm" c="dimmed" className="sentence">{finding.why}</Text>
          {finding.fix && <Text size="sm" mt={2}>{t("findings.mendedBy")} <Code>{finding.fix.operation ? [finding.fix.operation, ...finding.fix.arguments].join(" ") : finding.fix.command}</Code></Text>}
          {!finding.fix && finding.advice && <Text size="sm" mt={2} className="sentence">{finding.advice}</Text>}
          {finding.files.length > 0 && <Button mt={4} px={0} size="compact-sm" variant="transparent" onClick={toggle} aria-expanded={opened}>{t("findings.files", { count: finding.files.length })}</Button>}
          <Collapse expanded={opened}>
            {opened && <div className="thumbs">{finding.files.slice(0, 24).map((file) => <div key={file} className="thumb"><img src={thumbnail(dataset, file)} alt={file} title={file} loading="lazy" /></div>)}</div>}
          </Collapse>
        </div>
      </Group>
    </div>
  );
}
