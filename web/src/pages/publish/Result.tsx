import { Anchor, Button, Code, Group, SimpleGrid, Stack, Text, ThemeIcon, Title } from "@mantine/core";
import { IconCheck, IconDownload, IconExternalLink } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { address, encodePath } from "../../api/client";
import { publishedQuery, type Published } from "../../api/pages";
import { bytesText } from "../../components/files";
import { ErrorState } from "../../components/States";

/** A place, as a link if a browser can go there. */
export function Where({ where }: { where: string }) {
  if (!/^https?:\/\//.test(where)) return <Code>{where}</Code>;
  return <Anchor href={where} underline="always" style={{ overflowWrap: "anywhere" }} target="_blank" rel="noopener noreferrer">{where}<IconExternalLink size={14} style={{ marginLeft: 4, verticalAlign: "-2px" }} aria-hidden /></Anchor>;
}

/** What was published and where; from a folder of the server it can be downloaded. */
export function Result({ result, folder }: { result: Published; folder: string | null }) {
  const { t } = useTranslation();
  return (
    <Stack className="card" role="status" gap="sm">
      <Group wrap="nowrap" align="flex-start">
        <ThemeIcon radius="xl" size={36} variant="light" color="green"><IconCheck size={20} aria-hidden /></ThemeIcon>
        <div style={{ minWidth: 0 }}>
          <Title order={2} fz={19}>{t("pages.publish.done")}</Title>
          <Text><Where where={result.where} /></Text>
          <Text c="dimmed" size="sm">{t("pages.publish.written", { count: result.changed.length })} {result.unchanged > 0 && t("pages.publish.unchanged", { count: result.unchanged })}</Text>
        </div>
      </Group>
      {result.notes.map((note) => <Text key={note} size="sm" className="sentence">{note}</Text>)}
      {folder && <Files folder={folder} />}
    </Stack>
  );
}

/** Files of a publication in a folder of the server, to download. */
export function Files({ folder }: { folder: string }) {
  const { t, i18n } = useTranslation();
  const { data, error } = useQuery(publishedQuery(folder));
  if (error) return <ErrorState error={error} />;
  return (
    <section aria-label={t("pages.publish.files")}>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="xs">
        {data?.list.map((file) => (
          <Button key={file.name} component="a" href={address(`/published/${encodeURIComponent(folder)}/${encodePath(file.name)}`)} download variant="default" justify="flex-start" leftSection={<IconDownload size={17} aria-hidden />} rightSection={<Text size="xs" c="dimmed" className="num">{bytesText(file.bytes, i18n.language)}</Text>} styles={{ label: { overflow: "hidden", textOverflow: "ellipsis", flex: 1, textAlign: "left" } }}>{file.name}</Button>
        ))}
      </SimpleGrid>
    </section>
  );
}
