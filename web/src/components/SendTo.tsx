import { Button, Menu } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconArrowAutofitWidth, IconArrowsMaximize, IconBrush, IconChevronDown, IconPhotoEdit } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { post } from "../api/client";
import type { Picture, Recalled } from "../api/types";
import { changeDraft, recallDraft } from "../pages/generate/draft";
import { type SendAs, sendToForm } from "../pages/generate/startImage";

interface Props {
  /** Of the picture's file. */
  url: string;
  /** A picture that was drawn here: its prompt and model go with it, and it can be drawn again larger. */
  picture?: Picture;
  onSent?: () => void;
}

const WAYS = [["whole", IconPhotoEdit], ["part", IconBrush], ["beyond", IconArrowAutofitWidth]] as const;
const LARGER = 2;

/** Send a picture to the form of *Draw*: to be changed, painted over, continued, or drawn again in larger. */
export function SendTo({ url, picture, onSent }: Props) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const send = useMutation({
    mutationFn: async (way: SendAs | "larger") => {
      if (way !== "larger") return sendToForm(url, way, picture ? { prompt: picture.prompt, model: picture.model } : {});
      const found = await post<Recalled>("/recall", { infotext: picture?.infotext ?? "" });
      recallDraft(found.request, found.model ?? picture?.model ?? null);
      changeDraft({ hires: LARGER });
    },
    onSuccess: async () => {
      onSent?.();
      await navigate({ to: "/generate" });
    },
    onError: () => notifications.show({ color: "red", message: t("canvas.send.failed") }),
  });
  return (
    <Menu position="bottom-start" withinPortal>
      <Menu.Target>
        <Button variant="default" rightSection={<IconChevronDown size={16} aria-hidden />} loading={send.isPending}>{t("canvas.send.title")}</Button>
      </Menu.Target>
      <Menu.Dropdown>
        {WAYS.map(([way, WayIcon]) => <Menu.Item key={way} leftSection={<WayIcon size={17} stroke={1.7} aria-hidden />} onClick={() => send.mutate(way)}>{t(`canvas.send.${way}`)}</Menu.Item>)}
        {picture && <Menu.Item leftSection={<IconArrowsMaximize size={17} stroke={1.7} aria-hidden />} onClick={() => send.mutate("larger")}>{t("canvas.send.larger")}</Menu.Item>}
      </Menu.Dropdown>
    </Menu>
  );
}
