import { Accordion, Button, Checkbox, Group, Modal, MultiSelect, NumberInput, Select, SimpleGrid, Stack, TagsInput, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { modelsQuery, templatesQuery } from "../../api/queries";
import { quoted } from "../../components/code";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState } from "../../components/States";
import { bodyOf, draftOf, saveShare, type Share, type ShareDraft, shareCommand } from "./shares";

interface Props {
  /** null: a new one. */
  share: Share | null;
  model: string | null;
  onClose: () => void;
}

/** The settings of a new share, or of one that exists. */
export function ShareForm({ share, model, onClose }: Props) {
  const { t } = useTranslation();
  return (
    <Modal opened onClose={onClose} size="lg" title={share ? t("share.change") : t("share.add")} closeButtonProps={{ "aria-label": t("common.close") }}>
      <Fields share={share} model={model} onClose={onClose} />
    </Modal>
  );
}

function Fields({ share, model, onClose }: Props) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const { data: models = [] } = useQuery(modelsQuery);
  const [draft, setDraft] = useState<ShareDraft>(() => draftOf(share, model));
  const change = (by: Partial<ShareDraft>) => setDraft((was) => ({ ...was, ...by }));
  const chosen = models.find((one) => one.name === draft.model) ?? models[0];
  const save = useMutation({
    mutationFn: () => saveShare({ ...draft, model: chosen?.name ?? draft.model }, share),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["shares"] });
      onClose();
    },
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack>
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TextInput label={t("share.name")} description={t("share.nameText")} required value={draft.name} disabled={share !== null} maxLength={64} onChange={(event) => change({ name: event.currentTarget.value })} data-autofocus />
          <Select label={t("generate.model")} description={t("share.modelText")} data={models.map((one) => one.name)} value={chosen?.name ?? null} onChange={(value) => change({ model: value })} allowDeselect={false} />
        </SimpleGrid>
        <TextInput label={t("share.titleLabel")} placeholder={draft.name} value={draft.title} maxLength={120} onChange={(event) => change({ title: event.currentTarget.value })} />
        <Textarea label={t("share.intro")} autosize minRows={2} maxLength={1000} value={draft.intro} onChange={(event) => change({ intro: event.currentTarget.value })} />
        <TextInput label={t("share.subject")} description={t("share.subjectText")} placeholder={chosen?.triggers[0] ?? ""} value={draft.subject} maxLength={200} onChange={(event) => change({ subject: event.currentTarget.value })} />
        <TemplateFields draft={draft} change={change} />
        <Limits draft={draft} change={change} />
        <Checkbox label={t("share.gallery")} description={t("share.galleryText")} checked={draft.gallery} onChange={(event) => change({ gallery: event.currentTarget.checked })} />
        <More draft={draft} change={change} />
        <ErrorState error={save.error} />
        <Group justify="space-between">
          <ShowAsCode example={() => ({ command: shareCommand({ ...draft, model: chosen?.name ?? null }, quoted), method: "POST", path: "/shares", body: { name: draft.name || "NAME", ...bodyOf({ ...draft, model: chosen?.name ?? null }) } })} />
          <Button type="submit" loading={save.isPending} disabled={!draft.name.trim()}>{share ? t("share.save") : t("share.create")}</Button>
        </Group>
      </Stack>
    </form>
  );
}

interface PartProps {
  draft: ShareDraft;
  change: (by: Partial<ShareDraft>) => void;
}

function TemplateFields({ draft, change }: PartProps) {
  const { t } = useTranslation();
  const { data: sets = [] } = useQuery(templatesQuery);
  return (
    <>
      <MultiSelect label={t("share.sets")} description={t("share.setsText")} data={sets.map((one) => one.name)} value={draft.sets} onChange={(value) => change({ sets: value })} searchable clearable clearButtonProps={{ "aria-label": t("common.clear") }} />
      <Textarea label={t("share.templates")} description={t("share.templatesText")} placeholder="{subject} as a {knight|pirate} in {place}" autosize minRows={2} maxRows={8} value={draft.templates} onChange={(event) => change({ templates: event.currentTarget.value })} />
    </>
  );
}

function Limits({ draft, change }: PartProps) {
  const { t } = useTranslation();
  const rows = [["address_day", t("share.addressDay")], ["day", t("share.day")], ["address_month", t("share.addressMonth")], ["month", t("share.month")]] as const;
  return (
    <fieldset style={{ border: 0, padding: 0, margin: 0 }}>
      <Text component="legend" size="sm" fw={500}>{t("share.limits")}</Text>
      <Text size="xs" c="dimmed" mb={6}>{t("share.limitsText")}</Text>
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs">
        {rows.map(([key, label]) => <NumberInput key={key} label={label} min={1} max={1_000_000} allowDecimal={false} placeholder={t("tokens.noLimit")} value={draft[key]} onChange={(value) => change({ [key]: value })} />)}
      </SimpleGrid>
    </fieldset>
  );
}

function More({ draft, change }: PartProps) {
  const { t } = useTranslation();
  const isAny = draft.embed.includes("*");
  return (
    <Accordion variant="contained" radius="md">
      <Accordion.Item value="more">
        <Accordion.Control>{t("share.moreSettings")}</Accordion.Control>
        <Accordion.Panel>
          <Stack>
            <TagsInput label={t("share.embed")} description={t("share.embedText")} placeholder="https://example.org" value={draft.embed.filter((one) => one !== "*")} disabled={isAny} onChange={(value) => change({ embed: value })} />
            <Checkbox label={t("share.embedAny")} checked={isAny} onChange={(event) => change({ embed: event.currentTarget.checked ? ["*"] : [] })} />
            <NumberInput label={t("share.days")} placeholder={t("share.noEnd")} min={1} max={36_500} allowDecimal={false} value={draft.days} onChange={(value) => change({ days: value })} />
            <Textarea label={t("generate.negative")} description={t("generate.negativeText")} autosize maxLength={500} value={draft.negative} onChange={(event) => change({ negative: event.currentTarget.value })} />
            <SimpleGrid cols={{ base: 1, xs: 3 }}>
              <NumberInput label={t("generate.width")} placeholder={t("generate.modelDecides")} min={64} max={2048} step={8} value={draft.width} onChange={(value) => change({ width: value })} />
              <NumberInput label={t("generate.height")} placeholder={t("generate.modelDecides")} min={64} max={2048} step={8} value={draft.height} onChange={(value) => change({ height: value })} />
              <NumberInput label={t("generate.steps")} min={1} max={150} value={draft.steps} onChange={(value) => change({ steps: value })} />
            </SimpleGrid>
          </Stack>
        </Accordion.Panel>
      </Accordion.Item>
    </Accordion>
  );
}
