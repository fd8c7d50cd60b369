import { ActionIcon, Button, Collapse, Group, NumberInput, Select, SimpleGrid, Stack, Tooltip, UnstyledButton } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAdjustments, IconChevronDown, IconDice5 } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { Model, Options, PromptReading } from "../../api/types";
import { changeDraft, emptySettings, useDraft } from "./draft";
import { PromptField } from "./PromptField";

/** Everything that most pictures do not need. */
export function MoreSettings({ model, options, reading }: { model: Model | undefined; options: Options | undefined; reading: PromptReading | undefined }) {
  const { t } = useTranslation();
  const draft = useDraft();
  const [opened, { toggle }] = useDisclosure(false);
  const numberOrNull = (value: string | number) => (value === "" ? null : Number(value));
  return (
    <div>
      <UnstyledButton onClick={toggle} aria-expanded={opened} className="focusable" style={{ width: "100%", borderRadius: 8, padding: "4px 0" }}>
        <Group gap={8} wrap="nowrap">
          <IconAdjustments size={18} stroke={1.7} aria-hidden />
          <span style={{ flex: 1, fontWeight: 500, fontSize: 15 }}>{t("generate.more")}</span>
          <IconChevronDown size={18} style={{ transform: opened ? "rotate(180deg)" : "none" }} aria-hidden />
        </Group>
      </UnstyledButton>
      <Collapse expanded={opened}>
        <Stack gap="sm" pt="sm">
          <PromptField label={t("generate.negative")} description={t("generate.negativeText")} minRows={2} value={draft.negative} parts={reading?.negative_parts ?? []} onChange={(negative) => changeDraft({ negative })} />
          <SimpleGrid cols={2} spacing="sm">
            <NumberInput label={t("generate.width")} placeholder={String(model?.native_size ?? "")} min={8} step={8} max={options?.limits.side ?? 2048} value={draft.width ?? ""} onChange={(value) => changeDraft({ width: numberOrNull(value) })} />
            <NumberInput label={t("generate.height")} placeholder={String(model?.native_size ?? "")} min={8} step={8} max={options?.limits.side ?? 2048} value={draft.height ?? ""} onChange={(value) => changeDraft({ height: numberOrNull(value) })} />
            <NumberInput label={t("generate.steps")} min={1} max={options?.limits.steps ?? 150} value={draft.steps} onChange={(value) => changeDraft({ steps: Number(value) || 20 })} />
            <NumberInput label={t("generate.guidance")} placeholder={t("generate.modelDecides")} min={1} max={30} step={0.5} value={draft.guidance ?? ""} onChange={(value) => changeDraft({ guidance: numberOrNull(value) })} />
            <Select label={t("generate.sampler")} data={[...new Set([draft.sampler, ...(options?.samplers ?? [])])]} value={draft.sampler} onChange={(value) => value && changeDraft({ sampler: value })} searchable allowDeselect={false} />
            <Select label={t("generate.schedule")} placeholder={t("generate.modelDecides")} data={options?.schedules ?? []} value={draft.schedule} onChange={(value) => changeDraft({ schedule: value })} clearable clearButtonProps={{ "aria-label": t("common.clear") }} />
            <NumberInput label={t("generate.seed")} placeholder={t("generate.random")} min={-1} value={draft.seed === -1 ? "" : draft.seed} onChange={(value) => changeDraft({ seed: numberOrNull(value) ?? -1 })} hideControls rightSection={
              <Tooltip label={t("generate.random")}>
                <ActionIcon variant="subtle" color="gray" onClick={() => changeDraft({ seed: -1 })} aria-label={t("generate.random")}><IconDice5 size={18} aria-hidden /></ActionIcon>
              </Tooltip>
            } />
            <NumberInput label={t("generate.hires")} placeholder={t("generate.hiresOff")} min={1.1} max={4} step={0.25} value={draft.hires ?? ""} onChange={(value) => changeDraft({ hires: numberOrNull(value) })} />
          </SimpleGrid>
          <Group justify="flex-end"><Button variant="subtle" color="gray" size="compact-sm" onClick={() => changeDraft(emptySettings())}>{t("generate.reset")}</Button></Group>
        </Stack>
      </Collapse>
    </div>
  );
}
