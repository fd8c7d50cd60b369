import { Button, Group, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconTrash } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { get, post, remove } from "../../api/client";
import { publishedQuery, type Published, tasksQuery } from "../../api/pages";
import type { Task } from "../../api/types";
import { Files, Where } from "./Result";

/** When and where a run was published last; nothing if it never was. */
export function Before({ run }: { run: string }) {
  const { t, i18n } = useTranslation();
  const { data: tasks = [] } = useQuery(tasksQuery("publish", run));
  const last = tasks.find((one) => one.state === "done");
  const { data: task } = useQuery({ queryKey: ["task", last?.id], queryFn: () => get<Task>(`/tasks/${last?.id}`), enabled: last !== undefined, staleTime: Infinity });
  const where = (task?.result as Published | null | undefined)?.where;
  if (!last || !where) return null;
  const date = new Date(1000 * (last.ended ?? last.added)).toLocaleString(i18n.language, { dateStyle: "medium", timeStyle: "short" });
  const folder = /^published\/([^/]+)$/.exec(where)?.[1];
  return (
    <div style={{ marginTop: -12 }}>
      <Text c="dimmed">{t("pages.publish.before", { date })} <Where where={where} /></Text>
      {folder && <Folder folder={folder} />}
    </div>
  );
}

/** A publication in a folder of the server: its files, and a way to remove it that can be undone. */
function Folder({ folder }: { folder: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [opened, { toggle }] = useDisclosure();
  const { isSuccess } = useQuery({ ...publishedQuery(folder), retry: false });
  const refresh = () => client.invalidateQueries({ queryKey: ["published"] });
  const restore = useMutation({ mutationFn: (entry: string) => post(`/trash/${entry}/restore`), onSettled: refresh });
  const take = useMutation({
    mutationFn: () => remove<{ trash: { id: string } }>(`/published/${encodeURIComponent(folder)}`),
    onSettled: () => client.resetQueries({ queryKey: ["published"] }),
    onError: (failed) => notifications.show({ color: "red", message: failed.message }),
    onSuccess: ({ trash }) =>
      notifications.show({
        id: trash.id,
        autoClose: 8_000,
        message: <Group justify="space-between" wrap="nowrap"><Text size="sm">{t("pages.publish.removed")}</Text><Button size="compact-sm" variant="default" onClick={() => { notifications.hide(trash.id); restore.mutate(trash.id); }}>{t("common.undo")}</Button></Group>,
      }),
  });
  if (!isSuccess) return null; // it was removed, or moved away
  return (
    <>
      <Group gap={4} ml={-10} mt={4}>
        <Button variant="subtle" color="gray" size="compact-sm" onClick={toggle} aria-expanded={opened}>{opened ? t("pages.publish.hideFiles") : t("pages.publish.showFiles")}</Button>
        <Button variant="subtle" color="gray" size="compact-sm" leftSection={<IconTrash size={15} aria-hidden />} onClick={() => take.mutate()} loading={take.isPending}>{t("pages.publish.remove")}</Button>
      </Group>
      {opened && <div className="card" style={{ marginTop: 8 }}><Files folder={folder} /></div>}
    </>
  );
}
