import { Alert, Button, Collapse, Group, NumberInput, SimpleGrid, Stack, Table, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAdjustments, IconAlertTriangle, IconFlame } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, post } from "../../api/client";
import type { Plan, Run } from "../../api/types";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { bytesText } from "../../components/files";
import { useDuration } from "../../components/duration";
import { setOptions, useRecipePlan } from "../recipe/useRecipePlan";
import type { Values } from "../recipe/schema";
import type { Subject } from "./NameStep";
import { safeName } from "./names";

const RecipeForm = lazy(() => import("../recipe/RecipeForm").then((found) => ({ default: found.RecipeForm })));

interface Props {
  dataset: string;
  subject: Subject;
  settings: Values;
  onSettings: (settings: Values) => void;
  onBack: () => void;
  onStarted: () => void;
}

const MOST_NAMES = 50;

/** Begin a training under a name, or the first of NAME-2, NAME-3 ... that is free. */
export async function addRun(name: string, asked: object): Promise<Run> {
  for (let number = 1; ; number += 1) {
    try {
      return await post<Run>("/runs", { ...asked, name: number === 1 ? name : `${name}-${number}` });
    } catch (failed) {
      if (!(failed instanceof ApiError && failed.code === "exists") || number === MOST_NAMES) throw failed;
    }
  }
}

/** What the training comes to, in plain words, and the button that starts it. */
export function PlanStep({ dataset, subject, settings, onSettings, onBack, onStarted }: Props) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const navigate = useNavigate();
  const { "train.steps": most, ...others } = settings;
  const asked = { dataset, subject: `${subject.trigger} ${subject.classWord}`, kind: subject.kind, base: subject.base };
  const planned = useRecipePlan(asked, settings);
  const { plan, error } = planned;
  const [opened, { toggle }] = useDisclosure(Object.keys(others).length > 0);
  const name = safeName(subject.name) || dataset;
  const start = useMutation({
    mutationFn: () => addRun(name, planned.body),
    onSuccess: async (run) => {
      await client.invalidateQueries({ queryKey: ["runs"] });
      onStarted();
      await navigate({ to: "/trainings/$name", params: { name: run.name } });
    },
  });
  return (
    <Stack gap="lg">
      {!plan && !error && <LoadingState what={t("plan.loading")} />}
      {(!plan || !opened) && <ErrorState error={error} onRetry={planned.retry} />}
      {plan && <Figures plan={plan} most={typeof most === "number" ? most : null} onMost={(steps) => onSettings(steps === null ? others : { ...others, "train.steps": steps })} />}
      {plan?.warnings.map((text) => <Alert key={text} color="orange" icon={<IconAlertTriangle aria-hidden />}>{text}</Alert>)}
      {plan && (
        <div>
          <Button variant="default" leftSection={<IconAdjustments size={18} aria-hidden />} onClick={toggle} aria-expanded={opened}>{opened ? t("runs.form.hide") : t("runs.form.show")}</Button>
          {opened && <div className="card" style={{ marginTop: 12 }}><Suspense fallback={<LoadingState what={t("runs.form.loading")} />}><RecipeForm settings={settings} onSettings={onSettings} of={planned} /></Suspense></div>}
        </div>
      )}
      {plan && <Reasons plan={plan} />}
      <ErrorState error={start.error} />
      <Group justify="space-between">
        <Button size="md" variant="default" onClick={onBack}>{t("new.back")}</Button>
        <Group gap="xs">
          <ShowAsCode example={() => ({ command: `bakehouse train datasets/${dataset} --subject "${asked.subject}" --kind ${subject.kind} --base ${subject.base} --run runs/${name}${setOptions(settings)}`, method: "POST", path: "/runs", body: planned.body })} />
          <Button size="md" leftSection={<IconFlame size={19} aria-hidden />} onClick={() => start.mutate()} loading={start.isPending} disabled={!planned.isCurrent}>{t("plan.train")}</Button>
        </Group>
      </Group>
    </Stack>
  );
}

export function Figures({ plan, most, onMost }: { plan: Plan; most: number | null; onMost: (most: number | null) => void }) {
  const { t, i18n } = useTranslation();
  const duration = useDuration();
  const figures = [
    [t("plan.time"), duration(plan.estimate.seconds), t("plan.on", { device: plan.estimate.device })],
    [t("plan.steps"), plan.steps.toLocaleString(i18n.language), t("plan.epochs", { count: plan.epochs })],
    [t("plan.memory"), bytesText(plan.estimate.memory_bytes, i18n.language), t("plan.disk", { size: bytesText(plan.estimate.disk_bytes, i18n.language) })],
  ] as const;
  return (
    <div className="card">
      <SimpleGrid cols={{ base: 1, xs: 3 }}>
        {figures.map(([label, value, below]) => (
          <div key={label}>
            <Text size="sm" c="dimmed">{label}</Text>
            <Text fz={24} fw={600} lh={1.3} className="num">{value}</Text>
            <Text size="sm" c="dimmed">{below}</Text>
          </div>
        ))}
      </SimpleGrid>
      <Group mt="lg" justify="space-between" align="flex-end" gap="lg">
        <Text c="dimmed" maw={420}>{t("plan.goesOn")}</Text>
        <NumberInput w={170} label={t("plan.most")} placeholder={String(plan.steps)} min={1} value={most ?? ""} onChange={(value) => onMost(value === "" ? null : Number(value))} />
      </Group>
    </div>
  );
}

export function Reasons({ plan }: { plan: Plan }) {
  const { t } = useTranslation();
  const [opened, { toggle }] = useDisclosure();
  return (
    <div>
      <Button variant="subtle" color="gray" size="compact-md" onClick={toggle} aria-expanded={opened}>{opened ? t("plan.hideReasons") : t("plan.reasons")}</Button>
      <Collapse expanded={opened}>
        <Table.ScrollContainer minWidth={480} className="card" p={8} mt="sm" scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
          <Table fz="sm">
            <Table.Thead><Table.Tr><Table.Th>{t("plan.setting")}</Table.Th><Table.Th>{t("plan.value")}</Table.Th><Table.Th>{t("plan.why")}</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>{plan.decisions.map((one) => <Table.Tr key={one.key}><Table.Td>{one.key}</Table.Td><Table.Td className="num">{typeof one.value === "object" ? JSON.stringify(one.value) : String(one.value)}</Table.Td><Table.Td>{one.reason}</Table.Td></Table.Tr>)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </Collapse>
    </div>
  );
}
