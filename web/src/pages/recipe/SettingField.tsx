import { Autocomplete, Button, Input, NumberInput, Select, Switch, Text, Textarea, TextInput } from "@mantine/core";
import { IconRotate } from "@tabler/icons-react";
import { type ReactNode, useEffect, useId, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Field } from "./schema";
import { parsed, shown } from "./schema";

interface Props {
  field: Field;
  label: ReactNode;
  help: string;
  /** What the training will use. */
  value: unknown;
  /** Whether the value is the user's own. */
  isGiven: boolean;
  /** What the plan would use; undefined if this is not known. */
  preset: unknown;
  /** Why the plan chose its value. */
  reason: string;
  /** Why it does nothing here; empty if it does something. */
  idle: string;
  errors: string[];
  /** Names of choices, where they are other than in recipes. */
  names?: Record<string, string>;
  /** undefined: leave it to the plan. */
  onChange: (value: unknown) => void;
}

/** One setting: what it is, its value, why the plan chose it, and how to go back to that. */
export function SettingField({ field, label, help, value, isGiven, preset, reason, idle, errors, names, onChange }: Props) {
  const { t } = useTranslation();
  const id = useId();
  const differs = isGiven && preset !== undefined && JSON.stringify(preset) !== JSON.stringify(value);
  const notes = [
    differs && t("runs.form.preset", { value: names?.[String(preset)] ?? (shown(preset, field.control) || t("runs.form.open")) }),
    idle ? t("runs.form.idle", { why: idle.replace(/^does nothing /, "") }) : reason,
  ].filter(Boolean);
  return (
    <div className="setting" data-idle={idle !== "" || undefined} data-given={differs || undefined}>
      <div>
        <Input.Label htmlFor={id} id={`${id}-label`}>{label}</Input.Label>
        {help && <Text size="sm" c="dimmed" id={`${id}-help`} className="prose">{help}</Text>}
      </div>
      <div>
        <FieldControl id={id} field={field} value={value} disabled={idle !== "" && !isGiven} isWrong={errors.length > 0} names={names} onChange={onChange} />
        {errors.map((error) => <Input.Error key={error} mt={6} role="alert">{error}</Input.Error>)}
        {(notes.length > 0 || isGiven) && (
          <div className="setting-notes">
            <Text size="xs" c="dimmed" span style={{ flex: 1 }}>{notes.join(" · ")}</Text>
            {isGiven && <Button size="compact-xs" variant="subtle" leftSection={<IconRotate size={13} aria-hidden />} onClick={() => onChange(undefined)} aria-label={t("runs.form.resetOf", { key: field.key })}>{t("runs.form.reset")}</Button>}
          </div>
        )}
      </div>
    </div>
  );
}

interface ControlProps {
  id: string;
  field: Field;
  value: unknown;
  disabled: boolean;
  isWrong: boolean;
  names: Record<string, string> | undefined;
  onChange: (value: unknown) => void;
}

function FieldControl({ id, field, value, disabled, isWrong, names, onChange }: ControlProps) {
  const { t } = useTranslation();
  const common = { id, disabled, error: isWrong } as const;
  if (field.control === "switch" && !field.isOpen) return <Switch id={id} disabled={disabled} checked={value === true} onChange={(event) => onChange(event.currentTarget.checked)} label={value === true ? t("runs.form.on") : t("runs.form.off")} aria-labelledby={`${id}-label`} />;
  if (field.control === "switch") {
    const data = [{ value: "true", label: t("runs.form.on") }, { value: "false", label: t("runs.form.off") }];
    return <Select {...common} data={data} placeholder={t("runs.form.open")} value={typeof value === "boolean" ? String(value) : null} onChange={(text) => onChange(text === null ? undefined : text === "true")} />;
  }
  if (field.control === "choice") {
    const data = field.choices.map((choice) => ({ value: choice, label: names?.[choice] ?? choice }));
    return <Select {...common} data={data} placeholder={t("runs.form.open")} allowDeselect={field.isOpen} value={typeof value === "string" || typeof value === "number" ? String(value) : null} onChange={(text) => onChange(text === null ? undefined : (field.choices as unknown[]).includes(Number(text)) ? Number(text) : text)} />;
  }
  return <TypedControl {...common} field={field} value={value} onChange={onChange} />;
}

/** A field that is typed into. What is typed stays as it is while it has the focus: `1e-` is not a number yet. */
function TypedControl({ field, value, onChange, ...common }: { id: string; disabled: boolean; error: boolean; field: Field; value: unknown; onChange: (value: unknown) => void }) {
  const { t } = useTranslation();
  const of = shown(value, field.control);
  const [text, setText] = useState(of);
  const [hasFocus, setFocus] = useState(false);
  useEffect(() => {
    if (!hasFocus) setText(of);
  }, [of, hasFocus]);
  const type = (next: string) => {
    setText(next);
    onChange(parsed(next, field.control));
  };
  const typed = { ...common, placeholder: field.isOpen ? t("runs.form.open") : t("runs.form.empty"), onFocus: () => setFocus(true), onBlur: () => setFocus(false) };
  if (field.suggestions.length > 0) return <Autocomplete {...typed} data={field.suggestions} limit={60} value={text} onChange={type} />;
  if (field.control === "integer") return <NumberInput {...typed} allowDecimal={false} clampBehavior="none" value={text} onChange={(next) => type(String(next))} />;
  if (field.control === "number") return <TextInput {...typed} inputMode="decimal" value={text} onChange={(event) => type(event.currentTarget.value)} />;
  if (field.control === "text") return <TextInput {...typed} value={text} onChange={(event) => type(event.currentTarget.value)} />;
  return <Textarea {...typed} autosize minRows={1} maxRows={10} ff={field.control === "json" ? "monospace" : undefined} value={text} onChange={(event) => type(event.currentTarget.value)} />;
}
