import { ActionIcon, Anchor, Badge, Button, Group, Menu, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconDots, IconExternalLink, IconTrash } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { ApiError, encodePath, remove } from "../../api/client";
import type { Base } from "../../api/pages";
import { untilEnd } from "../../api/tasks";
import type { Task } from "../../api/types";
import { bytesText } from "../../components/files";

const UNDO_MS = 8_000;

/** A base model on this machine: what it is, what it likes, and a way to remove it. */
export function BaseCard({ base, onHide }: { base: Base; onHide: (isHidden: boolean) => void }) {
  const { t, i18n } = useTranslation();
  return (
    <div className="card" role="group" aria-label={base.name}>
      <Group justify="space-between" wrap="nowrap" align="flex-start">
        <div style={{ minWidth: 0 }}>
          <Group gap={8}>
            <Text fw={600} fz={17}>{base.name}</Text>
            <Family base={base} />
            {base.served && <Badge variant="light" color="green" c="var(--mantine-color-text)" tt="none" fw={500}>{t("pages.models.served")}</Badge>}
          </Group>
          {base.what && <Text size="sm" c="dimmed" className="sentence">{base.what}</Text>}
        </div>
        <Group gap={6} wrap="nowrap">
          <Text className="num" style={{ whiteSpace: "nowrap" }}>{base.bytes === null ? "" : bytesText(base.bytes, i18n.language)}</Text>
          {base.removes && <Remove base={base} onHide={onHide} />}
        </Group>
      </Group>
      <Facts base={base} />
    </div>
  );
}

const FAMILIES: Record<string, string> = { sd1: "SD 1", sd2: "SD 2", sdxl: "SDXL" };

export function Family({ base }: { base: Base }) {
  if (!base.family) return null;
  return <Badge variant="light" c="var(--mantine-color-text)" tt="none" fw={500}>{FAMILIES[base.family] ?? base.family}</Badge>;
}

export function Facts({ base }: { base: Base }) {
  const { t } = useTranslation();
  const liked = base.conventions;
  const facts: [string, React.ReactNode][] = [
    [t("pages.models.licence"), base.licence || t("pages.models.noLicence")],
    [t("pages.models.from"), base.page ? <Anchor href={base.page} target="_blank" rel="noopener noreferrer" size="sm" style={{ overflowWrap: "anywhere" }}>{base.page.replace(/^https:\/\/(huggingface\.co\/)?/, "")}<IconExternalLink size={13} style={{ marginLeft: 4, verticalAlign: "-1px" }} aria-hidden /></Anchor> : t(`pages.models.origin.${base.origin}`)],
    ...(liked ? ([[t("pages.models.likes"), t("pages.models.liked", { prompts: t(`pages.models.prompts.${liked.prompts}`), size: liked.resolution, guidance: liked.guidance })]] as [string, React.ReactNode][]) : []),
    ...(liked?.quality && base.is_here ? ([[t("pages.models.quality"), liked.quality]] as [string, React.ReactNode][]) : []),
  ];
  return (
    <dl className="facts">
      {facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

/** Its consequence stands in the menu; for some seconds it can be taken back, and nothing has happened yet. */
function Remove({ base, onHide }: { base: Base; onHide: (isHidden: boolean) => void }) {
  const { t, i18n } = useTranslation();
  const client = useQueryClient();
  const size = bytesText(base.bytes ?? 0, i18n.language);
  const isFiles = base.removes === "files";
  const back = (failed?: unknown) => {
    onHide(false);
    if (failed) notifications.show({ color: "red", message: failed instanceof ApiError ? [failed.message, failed.hint].filter(Boolean).join(". ") : String(failed) });
  };
  const removeNow = async () => {
    try {
      const task = await untilEnd(await remove<Task>(`/bases/${encodePath(base.name)}`), () => undefined, () => true);
      if (task.state !== "done") throw new Error(task.error);
      await client.invalidateQueries({ queryKey: ["bases"] });
      await client.invalidateQueries({ queryKey: ["presets"] });
      onHide(false);
    } catch (failed) {
      back(failed);
    }
  };
  const begin = () => {
    onHide(true);
    const timer = setTimeout(() => void removeNow(), UNDO_MS);
    const undo = () => {
      clearTimeout(timer);
      notifications.hide(`base-${base.name}`);
      back();
    };
    notifications.show({
      id: `base-${base.name}`,
      autoClose: UNDO_MS - 300,
      withCloseButton: false,
      message: <Group justify="space-between" wrap="nowrap"><Text size="sm">{t(isFiles ? "pages.models.deleting" : "pages.models.removing", { name: base.name, size })}</Text><Button size="compact-sm" variant="default" onClick={undo}>{t("common.undo")}</Button></Group>,
    });
  };
  return (
    <Menu width={300}>
      <Menu.Target><ActionIcon variant="subtle" color="gray" size="lg" aria-label={t("pages.models.actions", { name: base.name })}><IconDots size={19} aria-hidden /></ActionIcon></Menu.Target>
      <Menu.Dropdown>
        <Menu.Item leftSection={<IconTrash size={17} aria-hidden />} onClick={begin}>
          {t(isFiles ? "pages.models.deleteFiles" : "pages.models.removeName")}
          <Text size="xs" c="dimmed">{t(isFiles ? "pages.models.deleteFilesText" : "pages.models.removeNameText", { size })}</Text>
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
