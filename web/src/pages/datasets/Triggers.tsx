import { Alert, Button, Group, List, SimpleGrid, Stack, Text, Title, VisuallyHidden } from "@mantine/core";
import { IconAlertTriangle, IconInfoCircle, IconPencil, IconWand } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { get } from "../../api/client";
import { useTask } from "../../api/tasks";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState, LoadingState } from "../../components/States";
import { TaskProgress } from "../../components/TaskProgress";
import { CaptionDiff, type CaptionChange } from "./CaptionDiff";
import { type Declared, EditTriggers } from "./EditTriggers";
import { type Together, Venn } from "./Venn";

interface Absorbed {
  what: string;
  strength: number;
  declared: boolean;
}
interface Explained {
  word: string;
  kind: string;
  images: number;
  absorbs: Absorbed[];
  comes_along: Record<string, number>;
  keeps: Record<string, number>;
  realised: string;
}
interface Found {
  id: string;
  level: string;
  message: string;
  remedies: { what: string; setting: string }[];
}
interface State {
  triggers: Declared[];
  explanation: { triggers: Explained[]; findings: Found[]; images: number; together: Together[] } | null;
  captions: CaptionChange[];
  changes: number;
  problem: string;
}

const MOST_SHOWN = 12;

/** The words of a dataset: where they meet, what each will learn, and how captions change. */
export function Triggers({ name, stamp }: { name: string; stamp: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [isEditing, setEditing] = useState(false);
  const place = `/datasets/${encodeURIComponent(name)}`;
  const found = useQuery({ queryKey: ["triggers", name, stamp], queryFn: () => get<State>(`${place}/triggers`) });
  const refresh = () => Promise.all([client.invalidateQueries({ queryKey: ["triggers", name] }), client.invalidateQueries({ queryKey: ["datasets"] }), client.invalidateQueries({ queryKey: ["tags", name] })]);
  const compile = useTask(name, "operation", refresh);
  if (found.error) return <ErrorState error={found.error} onRetry={() => void found.refetch()} />;
  if (!found.data) return <LoadingState what={t("runs.triggers.loading")} />;
  const { triggers, explanation, captions, changes, problem } = found.data;
  if (isEditing) return <EditTriggers dataset={name} declared={triggers} onDone={() => { setEditing(false); void refresh(); }} />;
  const write = async () => {
    await compile.start(`${place}/operations`, { operation: "captions compile", arguments: [] });
    await refresh();
  };
  return (
    <Stack gap="lg">
      <Group justify="space-between" align="flex-start" gap="sm">
        <Text c="dimmed" maw={640}>{t("runs.triggers.text")}</Text>
        <Group gap="xs">
          <ShowAsCode compact example={() => ({ command: `bakehouse triggers explain datasets/${name}`, method: "GET", path: `${place}/triggers` })} />
          <Button variant={triggers.length ? "default" : "filled"} leftSection={<IconPencil size={17} aria-hidden />} onClick={() => setEditing(true)}>{triggers.length ? t("runs.triggers.edit") : t("runs.triggers.declare")}</Button>
        </Group>
      </Group>
      {problem && <Alert color="red" icon={<IconAlertTriangle aria-hidden />} role="alert"><Text size="sm" style={{ whiteSpace: "pre-line" }}>{problem}</Text></Alert>}
      {explanation && (
        <div className="triggers">
          <Venn words={explanation.triggers.map((one) => one.word)} together={explanation.together} />
          <SimpleGrid cols={{ base: 1, lg: explanation.triggers.length > 1 ? 2 : 1 }} spacing="md">{explanation.triggers.map((one, i) => <Word key={one.word} of={one} number={i} />)}</SimpleGrid>
        </div>
      )}
      {explanation && explanation.findings.length > 0 && <Findings findings={explanation.findings} />}
      {changes > 0 && (
        <div>
          <Title order={3} fz={16} mb={6}>{t("bulk.changes", { count: changes })}</Title>
          <CaptionDiff changes={captions} total={changes} />
          <Group mt="sm" gap="xs">
            <Button leftSection={<IconWand size={17} aria-hidden />} onClick={() => void write()} loading={compile.task !== null}>{t("runs.triggers.write")}</Button>
            <ShowAsCode compact example={() => ({ command: `bakehouse captions compile datasets/${name}`, method: "POST", path: `${place}/operations`, body: { operation: "captions compile", arguments: [] } })} />
          </Group>
          <TaskProgress task={compile.task} what={t("runs.triggers.writing")} />
          <ErrorState error={compile.error} />
        </div>
      )}
    </Stack>
  );
}

function Word({ of, number }: { of: Explained; number: number }) {
  const { t } = useTranslation();
  const color = `var(--run-${(number % 4) + 1})`;
  const shares = (of: Record<string, number>) => Object.entries(of).slice(0, MOST_SHOWN).map(([tag, share]) => `${tag} (${Math.round(100 * share)} %)`).join(", ");
  return (
    <section className="word" style={{ borderLeftColor: color }} aria-label={of.word}>
      <Group justify="space-between" gap="xs"><Text fw={650} style={{ color }}>{of.word}</Text><Text size="sm" c="dimmed" className="num">{t(`runs.triggers.kinds.${of.kind as "character"}`)} · {t("datasets.images", { count: of.images })}</Text></Group>
      <Text size="sm" c="dimmed" mt={8} mb={4}>{t("runs.triggers.learns")}</Text>
      {of.absorbs.length === 0 && <Text size="sm">{t("runs.triggers.nothing")}</Text>}
      <ul className="absorbs">
        {of.absorbs.slice(0, MOST_SHOWN).map((one) => (
          <li key={one.what}>
            <span>{one.what}{!one.declared && <b title={t("runs.triggers.undeclared")}> *</b>}</span>
            <div className="bar" aria-hidden><div style={{ width: `${100 * one.strength}%`, background: color }} /></div>
            <span className="num">{Math.round(100 * one.strength)} %</span>
          </li>
        ))}
      </ul>
      {of.absorbs.length > MOST_SHOWN && <Text size="sm" c="dimmed">{t("common.andMore", { count: of.absorbs.length - MOST_SHOWN })}</Text>}
      {of.absorbs.some((one) => !one.declared) && <Text size="xs" c="dimmed" mt={4}>* {t("runs.triggers.undeclared")}</Text>}
      {Object.keys(of.comes_along).length > 0 && <Text size="sm" mt={8}><Text span c="dimmed" size="sm">{t("runs.triggers.along")} </Text>{shares(of.comes_along)}</Text>}
      {Object.keys(of.keeps).length > 0 && <Text size="sm" mt={4}><Text span c="dimmed" size="sm">{t("runs.triggers.stays")} </Text>{shares(of.keeps)}</Text>}
    </section>
  );
}

function Findings({ findings }: { findings: Found[] }) {
  const { t } = useTranslation();
  return (
    <ul className="findings">
      {findings.map((one) => (
        <li key={one.message} data-level={one.level}>
          {one.level === "note" ? <IconInfoCircle size={18} aria-hidden /> : <IconAlertTriangle size={18} aria-hidden />}
          <div>
            <Text size="sm"><VisuallyHidden>{one.level === "error" ? t("findings.error") : one.level === "warning" ? t("findings.warning") : t("findings.info")}: </VisuallyHidden>{one.message}.</Text>
            {one.remedies.length > 0 && <List size="sm" mt={4} c="dimmed">{one.remedies.map((remedy) => <List.Item key={remedy.setting}>{remedy.what}: <code className="key">{remedy.setting}</code></List.Item>)}</List>}
          </div>
        </li>
      ))}
    </ul>
  );
}
