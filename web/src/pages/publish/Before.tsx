import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { get } from "../../api/client";
import { type Published, tasksQuery } from "../../api/pages";
import type { Task } from "../../api/types";
import { Where } from "./Result";

/** When and where a run was published last; nothing if it never was. */
export function Before({ run }: { run: string }) {
  const { t, i18n } = useTranslation();
  const { data: tasks = [] } = useQuery(tasksQuery("publish", run));
  const last = tasks.find((one) => one.state === "done");
  const { data: task } = useQuery({ queryKey: ["task", last?.id], queryFn: () => get<Task>(`/tasks/${last?.id}`), enabled: last !== undefined, staleTime: Infinity });
  const where = (task?.result as Published | null | undefined)?.where;
  if (!last || !where) return null;
  const date = new Date(1000 * (last.ended ?? last.added)).toLocaleString(i18n.language, { dateStyle: "medium", timeStyle: "short" });
  return <Text c="dimmed" mt={-12}>{t("pages.publish.before", { date })} <Where where={where} /></Text>;
}
