import { ActionIcon, Button, Code, CopyButton, Modal, Tabs, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconCheck, IconCode, IconCopy } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { curlOf, javascriptOf, pythonOf } from "./code";

export interface CodeExample {
  /** The command that does the same; left out where there is none. */
  command?: string;
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  body?: unknown;
  /** Files of a form, by name. */
  files?: string[];
  /** A file that is the body. */
  upload?: string;
}

/** What a button does, as a command line, for curl, in Python and in JavaScript. */
export function ShowAsCode({ example, compact = false }: { example: () => CodeExample; compact?: boolean }) {
  const { t } = useTranslation();
  const [opened, { open, close }] = useDisclosure();
  const button = compact ? (
    <Tooltip label={t("code.show")}>
      <ActionIcon variant="subtle" color="gray" size="lg" onClick={open} aria-label={t("code.show")}><IconCode size={19} stroke={1.7} aria-hidden /></ActionIcon>
    </Tooltip>
  ) : (
    <Button variant="subtle" color="gray" leftSection={<IconCode size={18} aria-hidden />} onClick={open}>{t("code.show")}</Button>
  );
  return (
    <>
      {button}
      <Modal opened={opened} onClose={close} title={t("code.title")} size="lg" closeButtonProps={{ "aria-label": t("common.close") }}>
        {opened && <Languages example={example()} />}
      </Modal>
    </>
  );
}

function Languages({ example }: { example: CodeExample }) {
  const { t } = useTranslation();
  const texts = [
    ...(example.command ? [["command", t("code.command"), example.command] as const] : []),
    ["curl", "curl", curlOf(example)] as const,
    ["python", "Python", pythonOf(example)] as const,
    ["javascript", "JavaScript", javascriptOf(example)] as const,
  ];
  return (
    <Tabs defaultValue={texts[0]?.[0]}>
      <Text size="sm" c="dimmed" mb="xs">{t("pages.code.token")} <Code>bakehouse tokens add NAME</Code></Text>
      <Tabs.List mb="md">{texts.map(([key, label]) => <Tabs.Tab key={key} value={key}>{label}</Tabs.Tab>)}</Tabs.List>
      {texts.map(([key, , text]) => (
        <Tabs.Panel key={key} value={key}>
          <pre className="code" tabIndex={0}>{text}</pre>
          <CopyButton value={text}>
            {({ copied, copy }) => (
              <Button mt="sm" variant="default" size="sm" onClick={copy} leftSection={copied ? <IconCheck size={16} aria-hidden /> : <IconCopy size={16} aria-hidden />}>
                {copied ? t("code.copied") : t("code.copy")}
              </Button>
            )}
          </CopyButton>
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}
