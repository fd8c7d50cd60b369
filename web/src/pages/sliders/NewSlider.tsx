import { Alert, Button, Group, Select, Stack, TagsInput, Text, TextInput, Title } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconAlertTriangle, IconFlame } from "@tabler/icons-react";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import type { Plan } from "../../api/types";
import { quoted } from "../../components/code";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState, LoadingState } from "../../components/States";
import { safeName } from "../newSubject/names";
import { addRun, Figures, Reasons } from "../newSubject/PlanStep";
import { useBases } from "../newSubject/useBases";

interface Words {
  name: string;
  target: string;
  positive: string;
  negative: string;
  keep: string[];
  base: string;
}

/** Prompts are English: that is what base models know. */
const EXAMPLES: Record<"smile" | "night" | "hair", Omit<Words, "base">> = {
  smile: { name: "smile", target: "person", positive: "person, big smile", negative: "person, frown", keep: [] },
  night: { name: "night", target: "outdoors", positive: "outdoors, night", negative: "outdoors, day", keep: [] },
  hair: { name: "long-hair", target: "person", positive: "person, long hair", negative: "person, short hair", keep: ["smile", "frown"] },
};

function recipeOf(words: Words, steps: number | null): object {
  const { target, positive, negative, keep, base } = words;
  return {
    recipe: { kind: "slider", model: { base }, slider: { prompts: [{ target, positive, negative }], ...(keep.length ? { keep } : {}) } },
    ...(steps ? { settings: { "train.steps": steps } } : {}),
  };
}

function commandOf(words: Words, run: string, steps: number | null): string {
  const parts = ["bakehouse", "train", "--kind", "slider", "--target", words.target, "--positive", words.positive, "--negative", words.negative, ...(words.keep.length ? ["--keep", words.keep.join(", ")] : []), "--base", words.base, ...(steps ? ["--set", `train.steps=${steps}`] : []), "--run", `runs/${run}`];
  return parts.map(quoted).join(" ");
}

export function NewSlider() {
  const { t } = useTranslation();
  const bases = useBases();
  const [words, setWords] = useState<Words>({ name: "", target: "", positive: "", negative: "", keep: [], base: "" });
  const chosen = { ...words, base: words.base || bases[0] || "crumb" };
  const change = (values: Partial<Words>) => setWords((was) => ({ ...was, ...values }));
  const field = (key: "name" | "target" | "positive" | "negative") => ({ value: words[key], onChange: (event: React.ChangeEvent<HTMLInputElement>) => change({ [key]: event.currentTarget.value }) });
  return (
    <div className="page" style={{ maxWidth: 860 }}>
      <PageHead title={t("pages.sliders.new")} text={t("pages.sliders.newText")} />
      <Stack gap="xl">
        <Stack className="card" gap="md">
          <Group gap="xs"><Text size="sm" c="dimmed">{t("pages.sliders.examples")}</Text>{(["smile", "night", "hair"] as const).map((one) => <Button key={one} size="compact-sm" variant="default" onClick={() => change(EXAMPLES[one])}>{t(`pages.sliders.example.${one}`)}</Button>)}</Group>
          <TextInput label={t("pages.sliders.name")} description={t("pages.sliders.nameText")} {...field("name")} maxLength={60} required />
          <TextInput label={t("pages.sliders.target")} description={t("pages.sliders.targetText")} placeholder="person" {...field("target")} />
          <TextInput label={t("pages.sliders.positive")} description={t("pages.sliders.positiveText")} placeholder="person, big smile" {...field("positive")} required />
          <TextInput label={t("pages.sliders.negative")} description={t("pages.sliders.negativeText")} placeholder="person, frown" {...field("negative")} />
          <TagsInput label={t("pages.sliders.keep")} description={t("pages.sliders.keepText")} value={words.keep} onChange={(keep) => change({ keep })} splitChars={[",", "，"]} acceptValueOnBlur />
          <Select label={t("name.base")} description={t("name.baseText")} data={bases} value={chosen.base} onChange={(base) => base && change({ base })} allowDeselect={false} searchable={bases.length > 8} />
        </Stack>
        {words.positive.trim() ? <PlanOf words={chosen} /> : <Text c="dimmed">{t("pages.sliders.sayFirst")}</Text>}
      </Stack>
    </div>
  );
}

/** What it comes to, in plain words, and the button that starts it. */
function PlanOf({ words }: { words: Words }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [most, setMost] = useState<number | null>(null);
  const now = JSON.stringify(recipeOf(words, most));
  const [asked] = useDebouncedValue(now, 600);
  const plan = useQuery({ queryKey: ["plan", asked], queryFn: () => post<Plan>("/plans", JSON.parse(asked)), staleTime: 0, placeholderData: keepPreviousData });
  const name = safeName(words.name);
  const start = useMutation({
    mutationFn: () => addRun(name, recipeOf(words, most)),
    onSuccess: async (run) => {
      await client.invalidateQueries({ queryKey: ["runs"] });
      await navigate({ to: "/sliders/$name", params: { name: run.name } });
    },
  });
  const isReady = plan.data !== undefined && !plan.isPlaceholderData && !plan.error && asked === now && name !== "";
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("new.plan")}</Title>
      <Stack gap="md">
        <Says words={words} />
        {plan.isPending && <LoadingState what={t("plan.loading")} />}
        <ErrorState error={plan.error} onRetry={() => void plan.refetch()} />
        {plan.data && !plan.error && <Figures plan={plan.data} most={most} onMost={setMost} />}
        {plan.data?.warnings.map((text) => <Alert key={text} color="orange" icon={<IconAlertTriangle aria-hidden />}>{text}</Alert>)}
        {plan.data && !plan.error && <Reasons plan={plan.data} />}
        <ErrorState error={start.error} />
        <Group justify="flex-end" gap="xs">
          <ShowAsCode example={() => ({ command: commandOf(words, name || "slider", most), method: "POST", path: "/runs", body: { ...recipeOf(words, most), name: name || "slider" } })} />
          <Button size="md" leftSection={<IconFlame size={19} aria-hidden />} onClick={() => start.mutate()} loading={start.isPending} disabled={!isReady}>{t("plan.train")}</Button>
        </Group>
      </Stack>
    </section>
  );
}

function Says({ words }: { words: Words }) {
  const { t } = useTranslation();
  const target = words.target.trim();
  return (
    <Text>
      {t("pages.sliders.says", { positive: words.positive.trim(), negative: words.negative.trim() || t("pages.sliders.opposite") })}{" "}
      {target ? t("pages.sliders.saysTarget", { target }) : t("pages.sliders.saysAll")}{" "}
      {words.keep.length > 0 && t("pages.sliders.saysKeep", { keep: words.keep.join(", ") })}
    </Text>
  );
}
