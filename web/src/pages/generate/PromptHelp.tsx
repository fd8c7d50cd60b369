import { Button, Group, Menu, ScrollArea, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconAlertTriangle, IconBulb, IconPlus } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { templatesQuery } from "../../api/queries";
import type { Model } from "../../api/types";
import { changeDraft, useDraft } from "./draft";

/** Below the prompt: the model's triggers, ideas from the library, and what in the prompt is probably not meant so. */
export function PromptHelp({ model }: { model: Model | undefined }) {
  const { t } = useTranslation();
  const { prompt } = useDraft();
  const missing = (model?.triggers ?? []).filter((word) => !prompt.includes(word));
  return (
    <>
      <Group gap={6} mt={8}>
        {missing.map((word) => (
          <Button key={word} size="compact-sm" variant="light" radius="xl" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => changeDraft({ prompt: prompt.trim() ? `${word}, ${prompt.trimStart()}` : `${word}, ` })} aria-label={t("generate.addTrigger", { word })}>
            {word}
          </Button>
        ))}
        <Ideas subject={model?.triggers[0]} />
      </Group>
      <Warnings />
    </>
  );
}

function Warnings() {
  const { prompt, negative, steps } = useDraft();
  const [asked] = useDebouncedValue(prompt, 500);
  const { data } = useQuery({
    queryKey: ["prompt", asked, negative, steps],
    queryFn: () => post<{ warnings: string[] }>("/prompt", { prompt: asked, negative, steps }),
    enabled: asked.trim() !== "",
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });
  const warnings = asked.trim() ? (data?.warnings ?? []) : [];
  return (
    <div role="status">
      {warnings.map((text) => (
        <Group key={text} gap={7} mt={8} wrap="nowrap" align="flex-start">
          <IconAlertTriangle size={16} style={{ flexShrink: 0, marginTop: 3 }} color="var(--mantine-primary-color-filled)" aria-hidden />
          <Text size="sm">{text}</Text>
        </Group>
      ))}
    </div>
  );
}

function Ideas({ subject }: { subject: string | undefined }) {
  const { t } = useTranslation();
  const { prompt } = useDraft();
  const { data: sets = [] } = useQuery(templatesQuery);
  const simple = sets.flatMap((set) => {
    const found = set.prompts.filter((one) => one.slots.every((slot) => slot === "subject") && !/__|\{(?!subject\})/.test(one.sentence));
    return found.length ? [{ ...set, prompts: found }] : [];
  });
  if (simple.length === 0) return null;
  const use = (sentence: string) => changeDraft({ prompt: sentence.replaceAll("{subject}", subject ?? (prompt.split(",")[0]?.trim() || t("generate.subject"))) });
  return (
    <Menu withinPortal width={340} position="bottom-start">
      <Menu.Target>
        <Button size="compact-sm" variant="subtle" color="gray" leftSection={<IconBulb size={16} aria-hidden />}>{t("generate.ideas")}</Button>
      </Menu.Target>
      <Menu.Dropdown>
        <ScrollArea.Autosize mah={360} type="auto">
          {simple.map((set) => (
            <div key={set.name}>
              <Menu.Label>{set.name}</Menu.Label>
              {set.prompts.map((one) => <Menu.Item key={one.name} onClick={() => use(one.sentence)}>{one.sentence.replaceAll("{subject}", subject ?? "…")}</Menu.Item>)}
            </div>
          ))}
        </ScrollArea.Autosize>
      </Menu.Dropdown>
    </Menu>
  );
}
