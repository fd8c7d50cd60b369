import { Alert, Button, Checkbox, Collapse, Group, NumberInput, Radio, SegmentedControl, Select, SimpleGrid, Stack, Switch, Text, Textarea, TextInput, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconKey, IconLock } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { Publishing } from "../../api/pages";
import type { Run } from "../../api/types";
import type { Draft, Place } from "./asked";

interface Props {
  run: Run;
  draft: Draft;
  publishing: Publishing | undefined;
  isBusy: boolean;
  onChange: (values: Partial<Draft>) => void;
}

export function PublishForm(props: Props) {
  const { t } = useTranslation();
  return (
    <fieldset className="plain" disabled={props.isBusy}>
      <legend className="sr-only">{t("pages.publish.form")}</legend>
      <Stack gap="xl">
        <Destination {...props} />
        <Description {...props} />
      </Stack>
    </fieldset>
  );
}

function Destination({ draft, publishing, onChange }: Props) {
  const { t } = useTranslation();
  const places = [
    { value: "folder", label: t("pages.publish.folder") },
    { value: "hub", label: t("pages.publish.hub"), disabled: publishing?.elsewhere === false },
    { value: "url", label: t("pages.publish.url"), disabled: publishing?.elsewhere === false },
  ];
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("pages.publish.where")}</Title>
      <Stack className="card" gap="md">
        <SegmentedControl fullWidth aria-label={t("pages.publish.where")} data={places} value={draft.place} onChange={(value) => onChange({ place: value as Place })} />
        {publishing?.elsewhere === false && <Text size="sm" c="dimmed">{t("pages.publish.onlyFolders")}</Text>}
        {draft.place === "folder" && <TextInput label={t("pages.publish.folderName")} description={t("pages.publish.folderText")} value={draft.folder} onChange={(event) => onChange({ folder: event.currentTarget.value })} required />}
        {draft.place === "hub" && <Hub draft={draft} source={publishing?.hub_token} onChange={onChange} />}
        {draft.place === "url" && <TextInput label={t("pages.publish.address")} description={t("pages.publish.addressText", { protocols: publishing?.protocols.slice(0, 3).join(", ") })} placeholder="s3://bucket/zwx" value={draft.url} onChange={(event) => onChange({ url: event.currentTarget.value })} required />}
      </Stack>
    </section>
  );
}

function Hub({ draft, source, onChange }: { draft: Draft; source: string | undefined; onChange: Props["onChange"] }) {
  const { t } = useTranslation();
  const sourceText = (text: string) => {
    const variable = /environment variable (\w+)/.exec(text)?.[1];
    return variable ? t("pages.publish.sources.environment", { variable }) : t(text.includes("keyring") ? "pages.publish.sources.keyring" : "pages.publish.sources.login");
  };
  return (
    <>
      <TextInput label={t("pages.publish.repository")} description={t("pages.publish.repositoryText")} placeholder="me/zwx" value={draft.repository} onChange={(event) => onChange({ repository: event.currentTarget.value })} required />
      <Switch label={t("pages.publish.public")} description={t("pages.publish.publicText")} checked={draft.isPublic} onChange={(event) => onChange({ isPublic: event.currentTarget.checked })} />
      {source && <Group gap={8} wrap="nowrap" align="flex-start" c="dimmed"><IconLock size={17} style={{ flexShrink: 0, marginTop: 2 }} aria-hidden /><Text size="sm">{t("pages.publish.token", { source: sourceText(source) })}</Text></Group>}
      {source === "" && (
        <Alert color="orange" icon={<IconKey aria-hidden />} title={t("pages.publish.noToken")}>
          {t("pages.publish.noTokenText")}
          <pre className="code" style={{ marginTop: 8 }} tabIndex={0}>{"hf auth login"}</pre>
        </Alert>
      )}
    </>
  );
}

function Description({ run, draft, onChange }: Props) {
  const { t } = useTranslation();
  const [opened, { toggle }] = useDisclosure();
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("pages.publish.what")}</Title>
      <Stack className="card" gap="md">
        <Radio.Group label={t("pages.publish.person")} description={t("pages.publish.personText")} value={draft.person} onChange={(value) => onChange({ person: value as Draft["person"] })} required>
          <Stack gap="xs" mt="xs">
            <Radio value="none" label={t("pages.publish.nobody")} />
            <Radio value="real" label={t("pages.publish.real")} />
          </Stack>
        </Radio.Group>
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TextInput label={t("pages.publish.cardTitle")} placeholder={run.subject || run.name} value={draft.title} onChange={(event) => onChange({ title: event.currentTarget.value })} maxLength={200} />
          <TextInput label={t("pages.publish.author")} value={draft.author} onChange={(event) => onChange({ author: event.currentTarget.value })} maxLength={200} />
        </SimpleGrid>
        <Textarea label={t("pages.publish.about")} description={t("pages.publish.aboutText")} autosize minRows={2} maxRows={8} value={draft.about} onChange={(event) => onChange({ about: event.currentTarget.value })} maxLength={4000} />
        <div><Button ml={-10} variant="subtle" color="gray" size="compact-md" onClick={toggle} aria-expanded={opened}>{opened ? t("pages.publish.less") : t("pages.publish.more")}</Button></div>
        <Collapse expanded={opened}>
          <Stack gap="md">
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              <Select label={t("pages.publish.weights")} placeholder={t("pages.publish.picked")} data={run.weights} value={draft.weights} onChange={(weights) => onChange({ weights })} clearable clearButtonProps={{ "aria-label": t("common.clear") }} />
              <NumberInput label={t("pages.publish.strength")} placeholder={t("pages.publish.picked")} min={-20} max={20} step={0.1} decimalScale={2} value={draft.strength ?? ""} onChange={(value) => onChange({ strength: value === "" ? null : Number(value) })} />
              <TextInput label={t("pages.publish.licence")} placeholder={t("pages.publish.ofBase")} value={draft.licence} onChange={(event) => onChange({ licence: event.currentTarget.value })} maxLength={64} />
              <TextInput label={t("pages.publish.base")} description={t("pages.publish.baseText")} inputWrapperOrder={["label", "input", "description"]} placeholder="owner/name" value={draft.base} onChange={(event) => onChange({ base: event.currentTarget.value })} maxLength={200} />
              <NumberInput label={t("pages.publish.images")} min={0} max={24} value={draft.images} onChange={(value) => onChange({ images: Number(value) || 0 })} clampBehavior="strict" />
            </SimpleGrid>
            <Checkbox label={t("pages.publish.replaceCard")} checked={draft.replaceCard} onChange={(event) => onChange({ replaceCard: event.currentTarget.checked })} />
          </Stack>
        </Collapse>
      </Stack>
    </section>
  );
}
