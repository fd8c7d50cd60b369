import { Button, Group, Modal, ScrollArea, SegmentedControl, Stack, Text, TextInput, UnstyledButton } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconArrowLeft, IconDice5, IconSearch } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { templatesQuery } from "../../api/queries";
import type { TemplateSet } from "../../api/types";
import { quoted } from "../../components/code";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { changeDraft, useDraft } from "./draft";

type Template = TemplateSet["prompts"][number];
type Form = "sentences" | "tags";

const KEPT = "bakehouse.templateForm";
const WAIT_MS = 300;

/** Templates of the library: one is chosen, its slots are filled, and the prompt that it comes to is used. */
export function TemplatePicker({ subject, onClose }: { subject: string | undefined; onClose: () => void }) {
  const { t } = useTranslation();
  const [form, setForm] = useState<Form>(localStorage.getItem(KEPT) === "tags" ? "tags" : "sentences");
  const [chosen, setChosen] = useState<Template | null>(null);
  const choose = (value: string) => {
    localStorage.setItem(KEPT, value);
    setForm(value as Form);
  };
  return (
    <Modal opened onClose={onClose} size="lg" title={t("canvas.templates.title")} closeButtonProps={{ "aria-label": t("common.close") }}>
      <Stack gap="md">
        <SegmentedControl size="xs" aria-label={t("canvas.templates.form")} value={form} onChange={choose} data={[{ value: "sentences", label: t("canvas.templates.sentences") }, { value: "tags", label: t("canvas.templates.tags") }]} />
        {chosen ? <Fill key={chosen.name} template={chosen} form={form} subject={subject} onBack={() => setChosen(null)} onUsed={onClose} /> : <Choose form={form} subject={subject} onChoose={setChosen} />}
      </Stack>
    </Modal>
  );
}

const textOf = (template: Template, form: Form) => (form === "tags" && template.tags ? template.tags : template.sentence);

function Choose({ form, subject, onChoose }: { form: Form; subject: string | undefined; onChoose: (template: Template) => void }) {
  const { t } = useTranslation();
  const [words, setWords] = useState("");
  const { data: sets = [], isPending, error, refetch } = useQuery(templatesQuery);
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = sets.flatMap((set) => {
    const prompts = set.prompts.filter((one) => wanted.every((word) => `${set.name} ${set.about} ${textOf(one, form)}`.toLowerCase().includes(word)));
    return prompts.length ? [{ ...set, prompts }] : [];
  });
  return (
    <>
      <TextInput data-autofocus type="search" leftSection={<IconSearch size={17} aria-hidden />} aria-label={t("canvas.templates.search")} placeholder={t("canvas.templates.search")} value={words} onChange={(event) => setWords(event.currentTarget.value)} />
      {isPending && <LoadingState what={t("canvas.templates.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && found.length === 0 && <Text c="dimmed">{t("canvas.templates.nothing")}</Text>}
      <ScrollArea.Autosize mah="52dvh" type="auto">
        {found.map((set) => (
          <section key={set.name} aria-label={set.name} style={{ marginBottom: 14 }}>
            <Text size="sm" fw={600} mb={4}>{set.name} <Text span size="sm" c="dimmed" fw={400}>{set.about}</Text></Text>
            {set.prompts.map((one) => <UnstyledButton key={one.name} className="template" onClick={() => onChoose(one)}><Slotted text={textOf(one, form)} subject={subject} /></UnstyledButton>)}
          </section>
        ))}
      </ScrollArea.Autosize>
    </>
  );
}

const GAP = /(\{[^{}]*\}|__[\w/-]+__)/;

/** A template's text with its slots and choices as chips. */
function Slotted({ text, subject }: { text: string; subject: string | undefined }) {
  const named = (part: string) => (part === "{subject}" && subject ? subject : part.replace(/^\{|\}$|^__(.*\/)?|__$/g, "").replaceAll("|", " / "));
  return text.split(GAP).map((part, i) => (GAP.test(part) ? <span key={i} className="slot">{named(part)}</span> : part));
}

interface FillProps {
  template: Template;
  form: Form;
  subject: string | undefined;
  onBack: () => void;
  onUsed: () => void;
}

function Fill({ template, form, subject, onBack, onUsed }: FillProps) {
  const { t } = useTranslation();
  const { negative } = useDraft();
  const [slots, setSlots] = useState<Record<string, string>>(template.slots.includes("subject") ? { subject: subject ?? t("generate.subject") } : {});
  const [seed, setSeed] = useState(0);
  const [asked] = useDebouncedValue(slots, WAIT_MS);
  const body = { name: template.name, form, slots: asked, seed };
  const { data, error } = useQuery({ queryKey: ["template", body], queryFn: () => post<{ prompt: string; negative: string }>("/templates/fill", body), placeholderData: keepPreviousData, staleTime: Infinity });
  const use = () => {
    if (!data) return;
    changeDraft({ prompt: data.prompt, ...(data.negative && !negative ? { negative: data.negative } : {}) });
    onUsed();
  };
  return (
    <form onSubmit={(event) => { event.preventDefault(); use(); }}>
      <Stack gap="sm">
        <Group><Button size="compact-sm" variant="subtle" color="gray" leftSection={<IconArrowLeft size={16} aria-hidden />} onClick={onBack}>{t("canvas.templates.back")}</Button></Group>
        {template.slots.map((slot, i) => (
          <TextInput key={slot} label={slot} placeholder={t("canvas.templates.chance")} maxLength={500} value={slots[slot] ?? ""} {...(i === 0 ? { "data-autofocus": true, autoFocus: true } : {})} onChange={(event) => setSlots({ ...slots, [slot]: event.currentTarget.value })} />
        ))}
        <ErrorState error={error} />
        <div className="code" style={{ whiteSpace: "pre-wrap", minHeight: 58 }} role="status" aria-label={t("canvas.templates.result")}>{data?.prompt ?? "…"}</div>
        <Group justify="space-between">
          <Group gap="xs">
            <Button variant="default" leftSection={<IconDice5 size={17} aria-hidden />} onClick={() => setSeed(Math.floor(Math.random() * 1e9))}>{t("canvas.templates.again")}</Button>
            <ShowAsCode compact example={() => ({ command: ["bakehouse", "generate", "crumb", "--templates", template.name, ...Object.entries(asked).filter(([, words]) => words).flatMap(([name, words]) => ["--slot", `${name}=${words}`])].map(quoted).join(" "), method: "POST", path: "/templates/fill", body })} />
          </Group>
          <Button type="submit" disabled={!data}>{t("canvas.templates.use")}</Button>
        </Group>
      </Stack>
    </form>
  );
}
