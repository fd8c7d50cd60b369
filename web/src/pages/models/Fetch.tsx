import { Alert, Button, Group, Stack, Text, TextInput, Title } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Base } from "../../api/pages";
import type { Task } from "../../api/types";
import { bytesText } from "../../components/files";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState } from "../../components/States";
import { ProgressLine, TaskProgress } from "../../components/TaskProgress";
import { Facts, Family } from "./BaseCard";
import type { Fetches } from "./useFetches";

/** More base models: by an id of the Hub, or one that bakehouse knows. */
export function Fetch({ bases, fetches }: { bases: Base[]; fetches: Fetches }) {
  const { t, i18n } = useTranslation();
  const [id, setId] = useState("");
  const isId = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(id.trim());
  const begin = () => {
    if (isId) void fetches.start(id.trim()).then(() => setId(""));
  };
  return (
    <section>
      <Title order={2} fz={18}>{t("pages.models.more")}</Title>
      <Text c="dimmed" mb="sm" maw={640}>{t("pages.models.moreText")}</Text>
      <Stack gap="sm">
        <form className="card" onSubmit={(event) => { event.preventDefault(); begin(); }}>
          <Group align="flex-end" gap="xs">
            <TextInput style={{ flex: "1 1 220px" }} label={t("pages.models.id")} placeholder="owner/name" value={id} onChange={(event) => setId(event.currentTarget.value)} spellCheck={false} autoCapitalize="none" />
            <Button type="submit" leftSection={<IconDownload size={18} aria-hidden />} disabled={!isId || fetches.isActive(id.trim())}>{t("pages.models.fetch")}</Button>
            <ShowAsCode compact example={() => ({ command: `bakehouse models fetch ${id.trim() || "owner/name"}`, method: "POST", path: "/bases", body: { name: id.trim() || "owner/name" } })} />
          </Group>
        </form>
        <ErrorState error={fetches.error} />
        {fetches.active.map((task) => <Progress key={task.id} task={task} onCancel={() => fetches.cancel(task)} />)}
        {fetches.failed.map((task) => <Alert key={task.id} color="red" role="alert" title={t("pages.models.failed", { name: task.subject })}><Text size="sm" style={{ whiteSpace: "pre-line" }} className="sentence">{task.error}</Text></Alert>)}
        {bases.map((base) => (
          <div key={base.name} className="card" role="group" aria-label={base.name}>
            <Group justify="space-between" align="flex-start" gap="xs">
              <div style={{ minWidth: 0, flex: "1 1 220px" }}>
                <Group gap={8}><Text fw={600}>{base.name}</Text><Family base={base} /></Group>
                <Text size="sm" c="dimmed" className="sentence">{base.origin === "hub" ? t("pages.models.notWhole") : base.what}</Text>
              </div>
              <Button variant="default" leftSection={<IconDownload size={17} aria-hidden />} onClick={() => void fetches.start(base.name)} disabled={fetches.isActive(base.name)} aria-label={t("pages.models.fetchOf", { name: base.name })}>
                {base.bytes !== null && base.origin === "catalogue" ? t("pages.models.fetchSize", { size: bytesText(base.bytes, i18n.language) }) : t("pages.models.fetch")}
              </Button>
            </Group>
            <Facts base={base} />
          </div>
        ))}
      </Stack>
    </section>
  );
}

function Progress({ task, onCancel }: { task: Task; onCancel: () => Promise<void> }) {
  const { t } = useTranslation();
  const [isCanceling, setCanceling] = useState(false);
  const cancel = () => {
    setCanceling(true);
    void onCancel().finally(() => setCanceling(false));
  };
  return (
    <Group className="card" wrap="nowrap" role="group" aria-label={t("pages.models.fetching", { name: task.subject })}>
      <div style={{ flex: 1, minWidth: 0 }}>
        <FetchProgress task={task} />
        <Text size="xs" c="dimmed" mt={6}>{t("pages.models.goesOn")}</Text>
      </div>
      <Button size="compact-md" variant="default" onClick={cancel} loading={isCanceling}>{t("common.stop")}</Button>
    </Group>
  );
}

const MEGABYTE = 1e6;

/** The server counts in megabytes, and only those of files that are large. */
function FetchProgress({ task }: { task: Task }) {
  const { t, i18n } = useTranslation();
  const { progress } = task;
  const what = t(progress?.what.startsWith("checking") ? "pages.models.checking" : "pages.models.fetching", { name: task.subject });
  if (!progress?.what.endsWith(", MB")) return <TaskProgress task={{ ...task, progress: null }} what={what} />;
  const [done, total] = [progress.done, progress.total].map((count) => bytesText(count * MEGABYTE, i18n.language));
  return <ProgressLine says={t("task.counted", { what, done, total })} percent={progress.total ? Math.round((100 * progress.done) / progress.total) : null} />;
}
