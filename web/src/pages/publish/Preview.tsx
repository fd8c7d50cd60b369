import { Alert, Badge, Button, Checkbox, Group, Stack, Table, Text, Title } from "@mantine/core";
import { IconAlertTriangle, IconUpload } from "@tabler/icons-react";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import type { FileState, PublicationPreview } from "../../api/pages";
import { bytesText } from "../../components/files";
import { ShowAsCode } from "../../components/ShowAsCode";
import { LoadingState } from "../../components/States";
import { bodyOf, type Draft, exampleOf } from "./asked";
import { Where } from "./Result";

const Card = lazy(() => import("./Card").then((found) => ({ default: found.Card })));
const COLORS: Record<FileState, string> = { new: "green", changed: "orange", same: "gray", kept: "blue" };
const STATES = ["new", "changed", "same", "kept"] as const;

interface Props {
  run: string;
  preview: PublicationPreview;
  draft: Draft;
  /** Whether the form was changed since. */
  isOld: boolean;
  onPublish: (accept: string[]) => void;
}

/** Exactly what would be published: what is asked first, each file, and the card as readers see it. */
export function Preview({ run, preview, draft, isOld, onPublish }: Props) {
  const { t } = useTranslation();
  const [accepted, setAccepted] = useState<string[]>([]);
  const isAccepted = preview.concerns.every((one) => accepted.includes(one.name));
  const isPublic = draft.place === "hub" && draft.isPublic;
  return (
    <Stack gap="xl">
      <section>
        <Title order={2} fz={18}>{t("pages.publish.preview")}</Title>
        <Text c="dimmed" mb="sm">{t(preview.exists ? "pages.publish.thereIs" : "pages.publish.thereIsNot")} <Where where={preview.where} /></Text>
        <Stack gap="sm">
          {preview.concerns.map((one) => (
            <Alert key={one.name} color="orange" icon={<IconAlertTriangle aria-hidden />} title={<span className="sentence" style={{ display: "block" }}>{one.why}</span>}>
              <Checkbox mt={4} label={t("pages.publish.inSpite")} checked={accepted.includes(one.name)} onChange={(event) => setAccepted(event.currentTarget.checked ? [...accepted, one.name] : accepted.filter((name) => name !== one.name))} />
            </Alert>
          ))}
          {preview.notes.map((note) => <Alert key={note} color="gray"><span className="sentence" style={{ display: "block" }}>{note}</span></Alert>)}
        </Stack>
      </section>
      <Files preview={preview} />
      <section>
        <Title order={2} fz={18} mb="sm">{t("pages.publish.card")}</Title>
        <Suspense fallback={<LoadingState what={t("pages.publish.loadingCard")} />}><Card text={preview.card} sources={preview.sources} run={run} /></Suspense>
      </section>
      <Stack className="card bulk" gap="xs">
        {isOld && <Text size="sm" role="status">{t("pages.publish.old")}</Text>}
        {!isOld && !isAccepted && <Text size="sm" role="status">{t("pages.publish.decide")}</Text>}
        <Group justify="space-between" gap="sm">
          <Text size="sm" c="dimmed" style={{ flex: "1 1 200px" }}>{draft.place === "hub" && t(isPublic ? "pages.publish.everybody" : "pages.publish.onlyYou")}</Text>
          <Group gap="xs">
            <ShowAsCode compact example={() => exampleOf(run, bodyOf(draft, { accept: accepted }))} />
            <Button size="md" leftSection={<IconUpload size={19} aria-hidden />} disabled={isOld || !isAccepted} onClick={() => onPublish(accepted)}>{t("pages.publish.publish")}</Button>
          </Group>
        </Group>
      </Stack>
    </Stack>
  );
}

function Files({ preview }: { preview: PublicationPreview }) {
  const { t, i18n } = useTranslation();
  const counted = STATES.map((state) => [state, preview.files.filter((one) => one.state === state).length] as const).filter(([, count]) => count > 0);
  const due = preview.files.filter((one) => one.state === "new" || one.state === "changed");
  const bytes = due.reduce((sum, one) => sum + one.bytes, 0);
  return (
    <section>
      <Group justify="space-between" mb="sm" gap="xs">
        <Title order={2} fz={18}>{t("pages.publish.files")}</Title>
        <Text size="sm" c="dimmed" className="num">{counted.map(([state, count]) => t(`pages.publish.counted.${state}`, { count })).join(" · ")}{due.length > 0 && ` · ${bytesText(bytes, i18n.language)}`}</Text>
      </Group>
      <Table.ScrollContainer minWidth={300} className="card" p={8} maxHeight={420} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
        <Table fz="sm">
          <Table.Thead><Table.Tr><Table.Th>{t("pages.publish.file")}</Table.Th><Table.Th ta="right">{t("pages.publish.size")}</Table.Th><Table.Th>{t("pages.publish.state")}</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {preview.files.map((one) => (
              <Table.Tr key={one.name}>
                <Table.Td style={{ overflowWrap: "anywhere" }}>{one.name}</Table.Td>
                <Table.Td ta="right" className="num" style={{ whiteSpace: "nowrap" }}>{bytesText(one.bytes, i18n.language)}</Table.Td>
                <Table.Td><Badge variant="light" color={COLORS[one.state]} c="var(--mantine-color-text)" tt="none" fw={500}>{t(`pages.publish.states.${one.state}`)}</Badge></Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </section>
  );
}
