import { ActionIcon, Button, Group, Select, SimpleGrid, Stack, TagsInput, TextInput } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, put } from "../../api/client";
import { ErrorState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { useCompletion } from "./CaptionEditor";

export interface Declared {
  word: string;
  kind: string;
  class_word: string;
  strategy: string | number;
  when: string[];
  absorbs: string[];
  keeps: string[];
}

const EMPTY: Declared = { word: "", kind: "character", class_word: "", strategy: "semi-static", when: [], absorbs: [], keeps: [] };
const KINDS = ["character", "outfit", "style", "concept"] as const;
const STRATEGIES = ["fluid", "semi-static", "static"] as const;

/** The trigger words of a dataset: which images each has, and what it takes in. */
export function EditTriggers({ dataset, declared, onDone }: { dataset: string; declared: Declared[]; onDone: () => void }) {
  const { t } = useTranslation();
  const [triggers, setTriggers] = useState<Declared[]>(declared.length ? declared : [EMPTY]);
  const path = `/datasets/${encodeURIComponent(dataset)}/triggers`;
  const save = useMutation({ mutationFn: () => put(path, { triggers }), onSuccess: onDone });
  const problems = save.error instanceof ApiError ? save.error.problems : [];
  const change = (number: number, part: Partial<Declared>) => setTriggers((was) => was.map((one, i) => (i === number ? { ...one, ...part } : one)));
  return (
    <Stack gap="md">
      {triggers.map((one, i) => <One key={i} dataset={dataset} number={i} of={one} errors={problems} onChange={(part) => change(i, part)} onRemove={() => setTriggers((was) => was.filter((_, other) => other !== i))} />)}
      <Group><Button variant="default" leftSection={<IconPlus size={17} aria-hidden />} onClick={() => setTriggers((was) => [...was, { ...EMPTY, kind: was.length ? "outfit" : "character" }])}>{t("runs.triggers.add")}</Button></Group>
      {problems.every((one) => !one.key.startsWith("triggers.")) && <ErrorState error={save.error} />}
      <Group justify="flex-end" gap="xs">
        <ShowAsCode compact example={() => ({ method: "PUT", path, body: { triggers } })} />
        <Button variant="default" onClick={onDone}>{t("runs.triggers.cancel")}</Button>
        <Button onClick={() => save.mutate()} loading={save.isPending}>{t("runs.triggers.save")}</Button>
      </Group>
    </Stack>
  );
}

interface OneProps {
  dataset: string;
  number: number;
  of: Declared;
  errors: ApiError["problems"];
  onChange: (part: Partial<Declared>) => void;
  onRemove: () => void;
}

function One({ dataset, number, of, errors, onChange, onRemove }: OneProps) {
  const { t } = useTranslation();
  const wrong = (name: string) => errors.filter((one) => one.key === `triggers.${number}.${name}`).map((one) => one.message.replace(/^[\w.]+(?: = .*?)?: /, "")).join("; ") || undefined;
  const levels = [...STRATEGIES.map((value) => ({ value, label: t(`runs.triggers.strategies.${value.replace("-", "_") as "fluid"}`) })), ...(STRATEGIES.includes(of.strategy as "fluid") ? [] : [{ value: String(of.strategy), label: String(of.strategy) }])];
  return (
    <fieldset className="card" style={{ margin: 0 }}>
      <legend className="sr-only">{of.word || t("runs.triggers.word")}</legend>
      <Group align="flex-start" wrap="nowrap" gap="sm">
        <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} style={{ flex: 1 }} spacing="sm">
          <TextInput label={t("runs.triggers.word")} value={of.word} error={wrong("word")} onChange={(event) => onChange({ word: event.currentTarget.value })} />
          <TextInput label={t("runs.triggers.classWord")} value={of.class_word} error={wrong("class_word")} onChange={(event) => onChange({ class_word: event.currentTarget.value })} />
          <Select label={t("runs.triggers.kind")} data={KINDS.map((value) => ({ value, label: t(`runs.triggers.kinds.${value}`) }))} value={of.kind} error={wrong("kind")} allowDeselect={false} onChange={(kind) => kind && onChange({ kind })} />
          <Select label={t("runs.triggers.strategy")} data={levels} value={String(of.strategy)} error={wrong("strategy")} allowDeselect={false} onChange={(strategy) => strategy && onChange({ strategy: /^[0-4]$/.test(strategy) ? Number(strategy) : strategy })} />
        </SimpleGrid>
        <ActionIcon variant="subtle" color="gray" size="lg" mt={24} aria-label={t("runs.triggers.remove", { word: of.word })} onClick={onRemove}><IconTrash size={18} aria-hidden /></ActionIcon>
      </Group>
      <SimpleGrid cols={{ base: 1, sm: 3 }} mt="sm" spacing="sm">
        {(["when", "absorbs", "keeps"] as const).map((name) => <Tags key={name} dataset={dataset} label={t(`runs.triggers.${name}`)} value={of[name]} error={wrong(name)} onChange={(value) => onChange({ [name]: value })} />)}
      </SimpleGrid>
    </fieldset>
  );
}

function Tags({ dataset, label, value, error, onChange }: { dataset: string; label: string; value: string[]; error: string | undefined; onChange: (value: string[]) => void }) {
  const { t } = useTranslation();
  const [typed, setTyped] = useState("");
  return <TagsInput label={label} value={value} onChange={(tags) => onChange(tags.flatMap((tag) => tag.split(",")).map((tag) => tag.trim()).filter(Boolean))} error={error} searchValue={typed} onSearchChange={setTyped} openOnFocus={false} data={useCompletion(dataset, typed)} splitChars={[","]} clearButtonProps={{ "aria-label": t("common.clear") }} />;
}
