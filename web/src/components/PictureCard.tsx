import { ActionIcon } from "@mantine/core";
import { IconStar, IconStarFilled } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { put } from "../api/client";
import type { Picture } from "../api/types";

/** One finished picture, which opens when it is clicked. */
export function PictureCard({ picture, onOpen, square = true }: { picture: Picture; onOpen: () => void; square?: boolean }) {
  const { t } = useTranslation();
  return (
    <div style={{ position: "relative" }}>
      <button type="button" className="picture" onClick={onOpen} aria-label={t("picture.open", { prompt: picture.prompt || t("generate.noPrompt") })} style={{ aspectRatio: square ? "1" : `${picture.width} / ${picture.height}` }}>
        <img src={picture.url} alt="" loading="lazy" decoding="async" />
      </button>
      {picture.starred > 0 && <div style={{ position: "absolute", inset: "6px 6px auto auto" }}><StarButton picture={picture} /></div>}
    </div>
  );
}

export function StarButton({ picture, variant = "default" }: { picture: Picture; variant?: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const star = useMutation({
    mutationFn: (starred: boolean) => put(`/pictures/${picture.id}/star`, { starred }),
    onSettled: () => client.invalidateQueries({ queryKey: ["pictures"] }),
  });
  const starred = star.isPending ? star.variables : picture.starred > 0;
  return (
    <ActionIcon variant={variant} size="lg" radius="xl" aria-pressed={starred} aria-label={t("picture.star")} onClick={() => star.mutate(!starred)}>
      {starred ? <IconStarFilled size={18} color="var(--mantine-primary-color-filled)" aria-hidden /> : <IconStar size={18} stroke={1.7} aria-hidden />}
    </ActionIcon>
  );
}
