import { Button, Group, Popover, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAlertTriangle, IconBinaryTree, IconBulb, IconPlus } from "@tabler/icons-react";
import { lazy, Suspense } from "react";
import { useTranslation } from "react-i18next";
import type { Model, PromptNode, PromptReading } from "../../api/types";
import { changeDraft, useDraft } from "./draft";

const TemplatePicker = lazy(async () => ({ default: (await import("./TemplatePicker")).TemplatePicker }));

/** Below the prompt: the model's triggers, templates of the library, and what in the prompt is probably not meant so. */
export function PromptHelp({ model, reading }: { model: Model | undefined; reading: PromptReading | undefined }) {
  const { t } = useTranslation();
  const { prompt } = useDraft();
  const [opened, { open, close }] = useDisclosure();
  const missing = (model?.triggers ?? []).filter((word) => !prompt.includes(word));
  return (
    <>
      <Group gap={6} mt={8}>
        {missing.map((word) => (
          <Button key={word} size="compact-sm" variant="light" radius="xl" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => changeDraft({ prompt: prompt.trim() ? `${word}, ${prompt.trimStart()}` : `${word}, ` })} aria-label={t("generate.addTrigger", { word })}>
            {word}
          </Button>
        ))}
        <Button size="compact-sm" variant="subtle" color="gray" leftSection={<IconBulb size={16} aria-hidden />} onClick={open}>{t("generate.ideas")}</Button>
        {reading && prompt.trim() && <Reading tree={reading.tree} />}
      </Group>
      <Warnings texts={prompt.trim() ? (reading?.warnings ?? []) : []} />
      <Suspense fallback={null}>{opened && <TemplatePicker subject={model?.triggers[0]} onClose={close} />}</Suspense>
    </>
  );
}

function Warnings({ texts }: { texts: string[] }) {
  return (
    <div role="status">
      {texts.map((text) => (
        <Group key={text} gap={7} mt={8} wrap="nowrap" align="flex-start">
          <IconAlertTriangle size={16} style={{ flexShrink: 0, marginTop: 3 }} color="var(--mantine-primary-color-filled)" aria-hidden />
          <Text size="sm">{text}</Text>
        </Group>
      ))}
    </div>
  );
}

/** The syntax tree, as `bakehouse prompt` prints it. */
function Reading({ tree }: { tree: PromptNode[] }) {
  const { t } = useTranslation();
  return (
    <Popover position="bottom-start" width={320} withinPortal trapFocus>
      <Popover.Target>
        <Button size="compact-sm" variant="subtle" color="gray" leftSection={<IconBinaryTree size={16} aria-hidden />}>{t("canvas.reading")}</Button>
      </Popover.Target>
      <Popover.Dropdown p="xs">
        <div className="prompt-tree" tabIndex={0} role="group" aria-label={t("canvas.reading")}><Nodes nodes={tree} /></div>
      </Popover.Dropdown>
    </Popover>
  );
}

const Nodes = ({ nodes }: { nodes: PromptNode[] }) => <ul>{nodes.map((one, i) => <li key={i}>{one.text}{one.inside && <Nodes nodes={one.inside} />}</li>)}</ul>;
