import { Button, Group } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { remove } from "../api/client";
import type { Task } from "../api/types";
import { TaskProgress } from "./TaskProgress";

/** A task on its way, and a way to stop it. */
export function CancelableTask({ task, what }: { task: Task | null; what: string }) {
  const { t } = useTranslation();
  const cancel = useMutation({ mutationFn: () => remove(`/tasks/${task?.id}`) });
  if (!task) return null;
  return (
    <Group className="card" wrap="nowrap" gap="md" align="center">
      <div style={{ flex: 1, minWidth: 0 }}><TaskProgress task={task} what={what} /></div>
      <Button size="compact-md" variant="default" onClick={() => cancel.mutate()} loading={cancel.isPending}>{t("common.stop")}</Button>
    </Group>
  );
}
