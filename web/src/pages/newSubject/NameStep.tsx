import { Button, Group, Select, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type KeyboardEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { request } from "../../api/client";
import type { Dataset } from "../../api/types";
import { ErrorState } from "../../components/States";
import { safeName, triggerFor } from "./names";
import { useBases } from "./useBases";

export interface Subject {
  name: string;
  kind: string;
  /** What the subject is, in the model's words: `person`. */
  classWord: string;
  trigger: string;
  base: string;
}

const KINDS = [
  { key: "person", kind: "character", word: "person" },
  { key: "animal", kind: "character", word: "animal" },
  { key: "thing", kind: "object", word: "thing" },
  { key: "style", kind: "style", word: "style" },
] as const;

interface Props {
  dataset: string;
  subject: Subject | null;
  onBack: () => void;
  onNext: (subject: Subject, dataset: string) => void;
}

/** What it is called and what it is. The trigger is made from the name, and can be changed. */
export function NameStep({ dataset, subject, onBack, onNext }: Props) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [name, setName] = useState(subject?.name ?? "");
  const [choice, setChoice] = useState<string>(KINDS.find((one) => one.word === subject?.classWord)?.key ?? (subject ? "" : "person"));
  const [classWord, setClassWord] = useState(subject?.classWord ?? "person");
  const [trigger, setTrigger] = useState<string | null>(subject?.trigger ?? null);
  const bases = useBases();
  const [base, setBase] = useState<string | null>(subject?.base ?? null);
  const word = trigger ?? (name.trim() ? triggerFor(name) : "");
  const rename = useMutation({
    mutationFn: async () => {
      const wanted = safeName(name) || dataset;
      if (wanted === dataset) return dataset;
      return (await request<Dataset>("PATCH", `/datasets/${encodeURIComponent(dataset)}`, { name: wanted })).name;
    },
    onSuccess: (renamed) => {
      void client.invalidateQueries({ queryKey: ["datasets"] });
      const kind = KINDS.find((one) => one.key === choice)?.kind ?? "character";
      onNext({ name: name.trim(), kind, classWord: classWord.trim(), trigger: word.trim(), base: base ?? bases[0] ?? "crumb" }, renamed);
    },
  });
  const choose = (key: string) => {
    setChoice(key);
    setClassWord(KINDS.find((one) => one.key === key)?.word ?? classWord);
  };
  return (
    <form onSubmit={(event) => { event.preventDefault(); rename.mutate(); }}>
      <Stack gap="lg">
        <TextInput size="md" label={t("name.name")} placeholder={t("name.nameExample")} required value={name} onChange={(event) => setName(event.currentTarget.value)} autoFocus />
        <div>
          <Text fw={500} mb={8} id="kind-label">{t("name.kind")}</Text>
          <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="sm" role="radiogroup" aria-labelledby="kind-label">
            {KINDS.map((one) => (
              <button key={one.key} type="button" role="radio" aria-checked={choice === one.key} tabIndex={choice === one.key || (!choice && one.key === "person") ? 0 : -1} className="choice" data-kind={one.key} onClick={() => choose(one.key)} onKeyDown={(event) => moveChoice(event, choose)}>
                <Text fw={600}>{t(`name.kinds.${one.key}`)}</Text>
                <Text size="sm" c="dimmed">{t(`name.kindTexts.${one.key}`)}</Text>
              </button>
            ))}
          </SimpleGrid>
        </div>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <TextInput label={t("name.classWord")} description={t("name.classWordText")} required value={classWord} onChange={(event) => setClassWord(event.currentTarget.value)} />
          <TextInput label={t("name.trigger")} description={t("name.triggerText")} required value={word} onChange={(event) => setTrigger(event.currentTarget.value)} />
        </SimpleGrid>
        {bases.length > 1 && <Select label={t("name.base")} description={t("name.baseText")} data={bases} value={base ?? bases[0] ?? null} onChange={setBase} allowDeselect={false} />}
        <ErrorState error={rename.error} />
        <Group justify="space-between">
          <Button size="md" variant="default" onClick={onBack}>{t("new.back")}</Button>
          <Button size="md" type="submit" loading={rename.isPending} disabled={!name.trim() || !word.trim() || !classWord.trim()}>{t("new.next")}</Button>
        </Group>
      </Stack>
    </form>
  );
}

function moveChoice(event: KeyboardEvent<HTMLButtonElement>, choose: (key: string) => void) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const all = [...(event.currentTarget.parentElement?.querySelectorAll<HTMLButtonElement>("[role=radio]") ?? [])];
  const next = all[(all.indexOf(event.currentTarget) + by + all.length) % all.length];
  next?.focus();
  if (next?.dataset.kind) choose(next.dataset.kind);
}
