import { Button, Group, Stack, Text } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { encodePath, remove, request } from "../../api/client";
import type { DatasetImage } from "../../api/types";
import { blobOf } from "../../components/files";
import { MaskEditor } from "../../components/painting/MaskEditor";
import { ErrorState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { thumbnail } from "../newSubject/names";
import { useUndo } from "./useUndo";

/** What of an image is learned, painted over it; it becomes the mask's file, as a step of the dataset's history. */
export function MaskTab({ dataset, image }: { dataset: string; image: DatasetImage }) {
  const { t } = useTranslation();
  const { refresh, offer } = useUndo(dataset);
  const [mask, setMask] = useState<string | null>(null);
  const [isPainted, setPainted] = useState(false);
  const [round, setRound] = useState(0);
  const path = `/datasets/${encodeURIComponent(dataset)}/mask/${encodePath(image.path)}`;
  /** The canvas begins again with what the server has. */
  const again = () => {
    setPainted(false);
    setRound((was) => was + 1);
  };
  const save = useMutation({
    mutationFn: () => (mask === null ? remove(path) : request("PUT", path, blobOf(mask))),
    onSuccess: async () => {
      setPainted(false);
      await refresh();
      offer(t("canvas.set.mask.saved"), again);
    },
  });
  const drop = useMutation({
    mutationFn: () => remove(path),
    onSuccess: async () => {
      await refresh();
      again();
      offer(t("canvas.set.mask.removed"), again);
    },
  });
  const changed = (next: string | null) => {
    setMask(next);
    setPainted(true);
  };
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed">{t("canvas.set.mask.text")}</Text>
      <MaskEditor key={round} image={thumbnail(dataset, image.path, 1024, image.changed)} label={image.caption ?? image.path} initial={image.mask ? `/api/v1${path}` : null} onChange={changed} tallest="52dvh" />
      <ErrorState error={save.error ?? drop.error} />
      <Group justify="space-between">
        <Group gap="xs">
          {image.mask && <Button variant="default" loading={drop.isPending} onClick={() => drop.mutate()}>{t("canvas.set.mask.remove")}</Button>}
          <ShowAsCode compact example={() => ({ method: "PUT", path, upload: "mask.png" })} />
        </Group>
        <Button loading={save.isPending} disabled={!isPainted} onClick={() => save.mutate()}>{isPainted ? t("canvas.set.mask.save") : t("captions.saved")}</Button>
      </Group>
    </Stack>
  );
}
