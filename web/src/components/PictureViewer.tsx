import { ActionIcon, Alert, Button, Group, Modal, Stack, Text, Tooltip } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { IconChevronLeft, IconChevronRight, IconDownload, IconPencil, IconTrash } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { post } from "../api/client";
import type { Picture, Recalled } from "../api/types";
import { recallDraft } from "../pages/generate/draft";
import { SendTo } from "./SendTo";
import { StarButton } from "./PictureCard";
import { useErrorText } from "./States";
import { useDeletePicture } from "./usePictures";

interface Props {
  pictures: Picture[];
  index: number | null;
  onChange: (index: number | null) => void;
}

/** A picture as large as the window, with what was asked for and where it can be sent. */
export function PictureViewer({ pictures, index, onChange }: Props) {
  const { t } = useTranslation();
  const picture = index === null ? undefined : pictures[index];
  const go = (by: number) => {
    if (index !== null && pictures[index + by]) onChange(index + by);
  };
  useHotkeys([["ArrowLeft", () => go(-1)], ["ArrowRight", () => go(1)]]);
  return (
    <Modal opened={!!picture} onClose={() => onChange(null)} size="min(1100px, 96vw)" title={t("picture.title")} closeButtonProps={{ "aria-label": t("common.close") }}>
      {picture && (
        <Stack gap="md">
          <Group justify="center" wrap="nowrap" gap="xs">
            <ActionIcon variant="subtle" color="gray" size="xl" disabled={!index} onClick={() => go(-1)} aria-label={t("picture.newer")}><IconChevronLeft aria-hidden /></ActionIcon>
            <img src={picture.url} alt={picture.prompt} style={{ minWidth: 0, maxWidth: "100%", maxHeight: "62dvh", width: Math.max(picture.width, 512), objectFit: "contain", borderRadius: 12, flexShrink: 1 }} />
            <ActionIcon variant="subtle" color="gray" size="xl" disabled={index === pictures.length - 1} onClick={() => go(1)} aria-label={t("picture.older")}><IconChevronRight aria-hidden /></ActionIcon>
          </Group>
          <Actions picture={picture} onClose={() => onChange(null)} />
          <pre className="code" tabIndex={0} style={{ maxHeight: "20dvh" }}>{picture.infotext}</pre>
        </Stack>
      )}
    </Modal>
  );
}

function Actions({ picture, onClose }: { picture: Picture; onClose: () => void }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const deletePicture = useDeletePicture();
  const again = useMutation({
    mutationFn: () => post<Recalled>("/recall", { infotext: picture.infotext }),
    onSuccess: async (found) => {
      recallDraft(found.request, picture.model);
      onClose();
      await navigate({ to: "/generate" });
    },
  });
  const error = again.error;
  const [message] = useErrorText(error);
  return (
    <>
      <Group gap="xs">
        <Button leftSection={<IconPencil size={17} aria-hidden />} onClick={() => again.mutate()} loading={again.isPending}>{t("picture.again")}</Button>
        <SendTo url={picture.url} picture={picture} onSent={onClose} />
        <div style={{ flex: 1 }} />
        <StarButton picture={picture} />
        <Tooltip label={t("picture.download")}>
          <ActionIcon component="a" href={picture.url} download={`${picture.seed}-${picture.id}.png`} variant="default" size="lg" radius="xl" aria-label={t("picture.download")}><IconDownload size={18} aria-hidden /></ActionIcon>
        </Tooltip>
        <Tooltip label={t("picture.delete")}>
          <ActionIcon variant="default" size="lg" radius="xl" aria-label={t("picture.delete")} onClick={() => { onClose(); deletePicture(picture); }}><IconTrash size={18} aria-hidden /></ActionIcon>
        </Tooltip>
      </Group>
      {error && <Alert color="red" role="alert">{message}</Alert>}
      <Text size="sm" c="dimmed">
        {picture.model} · {picture.width} × {picture.height} · {t("picture.seed", { seed: picture.seed })}
      </Text>
    </>
  );
}
