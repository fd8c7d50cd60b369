import { Button, Group, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";

const SHOWN_MS = 9_000;

/** Says that a step was written to a dataset, and offers to take it back. */
export function useUndo(dataset: string): { refresh: () => Promise<unknown>; offer: (message: string, onUndone?: () => void) => void; undo: () => Promise<unknown> } {
  const { t } = useTranslation();
  const client = useQueryClient();
  const refresh = useCallback(
    () => Promise.all(["datasets", "tags", "candidates"].map((key) => client.invalidateQueries({ queryKey: [key] }))),
    [client],
  );
  const undo = useCallback(async () => {
    await post(`/datasets/${encodeURIComponent(dataset)}/undo`, {});
    return refresh();
  }, [dataset, refresh]);
  const offer = useCallback(
    (message: string, onUndone?: () => void) => {
      const id = `step-${dataset}`;
      const back = async () => {
        notifications.hide(id);
        try {
          await undo();
          onUndone?.();
        } catch (failed) {
          notifications.show({ color: "red", message: failed instanceof Error ? failed.message : String(failed) });
        }
      };
      notifications.hide(id);
      notifications.show({ id, autoClose: SHOWN_MS, message: <Group justify="space-between"><Text size="sm">{message}</Text><Button size="compact-sm" variant="default" onClick={() => void back()}>{t("common.undo")}</Button></Group> });
    },
    [dataset, undo, t],
  );
  return { refresh, offer, undo };
}
