import { Accordion, Alert, Checkbox, Group, List, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { IconAlertTriangle, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import type { TFunction } from "i18next";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../api/client";
import type { Plan } from "../../api/types";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { SettingField } from "./SettingField";
import { type Field, fieldsOf, valueAt, type Values } from "./schema";
import { type RecipePlan, schemaQuery } from "./useRecipePlan";

/** Those that matter for most trainings, in the order in which people ask for them. */
const SIMPLE = ["buckets.resolution", "adapter.kind", "adapter.rank", "optimizer.name", "optimizer.lr", "train.epochs", "train.batch", "prior.source", "sample.prompts"] as const;
type Simple = (typeof SIMPLE)[number];

interface Props {
  settings: Values;
  onSettings: (settings: Values) => void;
  of: RecipePlan;
}

/** Every setting of a training, or the few that matter: each with the plan's value and reason until it is changed. */
export function RecipeForm({ settings, onSettings, of }: Props) {
  const { t } = useTranslation();
  const [mode, setMode] = useState<"simple" | "all">("simple");
  const schema = useQuery(schemaQuery);
  const { plan } = of;
  const kind = settings["adapter.kind"] ?? valueAt(plan?.recipe, "adapter.kind");
  const fields = useMemo(() => (schema.data && plan ? fieldsOf(schema.data, withKind(plan.recipe, kind)) : []), [schema.data, plan, kind]);
  if (schema.error) return <ErrorState error={schema.error} onRetry={() => void schema.refetch()} />;
  if (!schema.data || !plan) return <LoadingState what={t("runs.form.loading")} />;
  const change = (key: string, value: unknown) => onSettings(changed(settings, key, value, key === "adapter.kind"));
  const problems = of.error instanceof ApiError ? of.error.problems : [];
  const visible = new Set<string>(mode === "simple" ? SIMPLE : fields.map((field) => field.key));
  const rest = problems.filter((one) => !visible.has(one.key));
  const shared = { settings, of, plan, problems, onChange: change };
  return (
    <Stack gap="md">
      <SegmentedControl aria-label={t("runs.form.which")} value={mode} onChange={(value) => setMode(value as "simple" | "all")} data={[{ value: "simple", label: t("runs.form.simple") }, { value: "all", label: t("runs.form.all") }]} style={{ alignSelf: "flex-start" }} />
      {rest.length > 0 && <Alert color="red" icon={<IconAlertTriangle aria-hidden />} role="alert" title={t("runs.form.problems", { count: rest.length })}><List size="sm">{rest.map((one) => <List.Item key={one.message}>{one.message}</List.Item>)}</List></Alert>}
      {problems.length === 0 && <ErrorState error={of.error} onRetry={of.retry} />}
      {mode === "simple"
        ? <div className="settings">{SIMPLE.map((key) => fields.find((field) => field.key === key)).map((field) => field && <One key={field.key} field={field} simple={field.key as Simple} {...shared} />)}</div>
        : <All fields={fields} {...shared} />}
    </Stack>
  );
}

interface Shared {
  settings: Values;
  of: RecipePlan;
  plan: Plan;
  problems: ApiError["problems"];
  onChange: (key: string, value: unknown) => void;
}

function One({ field, simple, settings, of, plan, problems, onChange }: { field: Field; simple?: Simple } & Shared) {
  const { t } = useTranslation();
  const { key } = field;
  const isGiven = key in settings;
  const value = isGiven ? settings[key] : valueAt(plan.recipe, key);
  const preset = valueAt(of.preset?.recipe, key);
  const decided = (isGiven ? of.preset : plan)?.decisions.find((one) => one.key === key);
  const names = simple === "prior.source" ? { none: t("runs.form.prior.none"), class: t("runs.form.prior.class"), captions: t("runs.form.prior.captions"), folder: t("runs.form.prior.folder") } : undefined;
  return (
    <SettingField
      field={field} value={value} isGiven={isGiven} preset={preset} reason={decided?.reason ?? ""} idle={plan.idle[key] ?? ""} {...(names ? { names } : {})}
      label={simple ? t(`runs.form.labels.${simple.replace(".", "_") as "buckets_resolution"}`) : <code>{key}</code>}
      help={simple ? t(`runs.form.helps.${simple.replace(".", "_") as "buckets_resolution"}`) : helpOf(field, t)}
      errors={problems.filter((one) => one.key === key).map((one) => withoutKey(one.message))}
      onChange={(next) => onChange(key, next)}
    />
  );
}

function All({ fields, ...shared }: { fields: Field[] } & Shared) {
  const { t } = useTranslation();
  const [searched, setSearched] = useState("");
  const [onlyOwn, setOnlyOwn] = useState(false);
  const words = searched.trim().toLowerCase();
  const isWrong = (key: string) => shared.problems.some((one) => one.key === key);
  const found = fields.filter((field) => (!onlyOwn || field.key in shared.settings) && (!words || `${field.key} ${field.help}`.toLowerCase().includes(words)));
  const tables = [...new Set(found.map(tableOf))];
  const isFlat = words !== "" || onlyOwn;
  const wrong = tables.filter((table) => fields.some((field) => tableOf(field) === table && isWrong(field.key)));
  const [opened, setOpened] = useState<string[]>([]);
  return (
    <Stack gap="sm">
      <Group gap="md">
        <TextInput style={{ flex: "1 1 220px" }} type="search" leftSection={<IconSearch size={17} aria-hidden />} aria-label={t("runs.form.search")} placeholder={t("runs.form.search")} value={searched} onChange={(event) => setSearched(event.currentTarget.value)} />
        <Checkbox label={t("runs.form.onlyOwn", { count: Object.keys(shared.settings).length })} checked={onlyOwn} onChange={(event) => setOnlyOwn(event.currentTarget.checked)} />
      </Group>
      {found.length === 0 && <EmptyState icon={IconSearch} title={t("runs.form.nothingTitle")}>{onlyOwn ? t("runs.form.nothingOwn") : t("runs.form.nothingText")}</EmptyState>}
      {isFlat
        ? <div className="settings">{found.map((field) => <One key={field.key} field={field} {...shared} />)}</div>
        : (
          <Accordion multiple variant="separated" value={[...new Set([...opened, ...wrong])]} onChange={setOpened}>
            {tables.map((table) => {
              const inside = found.filter((field) => tableOf(field) === table);
              const own = inside.filter((field) => field.key in shared.settings).length;
              return (
                <Accordion.Item key={table} value={table}>
                  <Accordion.Control><Group gap="sm"><Text fw={600}>{t(`runs.form.tables.${table as "adapter"}`)}</Text><Text size="sm" c="dimmed">{own ? t("runs.form.own", { count: own }) : ""}</Text></Group></Accordion.Control>
                  <Accordion.Panel>{(opened.includes(table) || wrong.includes(table)) && <div className="settings">{inside.map((field) => <One key={field.key} field={field} {...shared} />)}</div>}</Accordion.Panel>
                </Accordion.Item>
              );
            })}
          </Accordion>
        )}
    </Stack>
  );
}

const tableOf = (field: Field) => (field.key.includes(".") ? (field.key.split(".")[0] ?? "") : "recipe");

function helpOf(field: Field, t: TFunction): string {
  if (field.key.endsWith(".repeats") && field.key.startsWith("concepts.")) return t("runs.form.repeats");
  return (field.key === "adapter.kind" ? t("runs.form.helps.adapter_kind") : field.help).replaceAll("`", "");
}

/** A message without the key and value that the field shows already. */
const withoutKey = (message: string) => message.replace(/^[\w.]+(?: = .*?)?: /, "");

const withKind = (recipe: Values, kind: unknown): Values => ({ ...recipe, adapter: { ...(recipe.adapter as Values | undefined), kind } });

/** Settings with one of them changed. Another kind of adapter has other settings: those of the old one go. */
function changed(settings: Values, key: string, value: unknown, isOtherAdapter: boolean): Values {
  const kept = Object.entries(settings).filter(([name]) => name !== key && !(isOtherAdapter && name.startsWith("adapter.")));
  return Object.fromEntries(value === undefined ? kept : [...kept, [key, value]]);
}
