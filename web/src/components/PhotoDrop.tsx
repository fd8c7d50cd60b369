import { Button, FileButton, Group, Text } from "@mantine/core";
import { IconFolder, IconPhotoPlus } from "@tabler/icons-react";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { useFileDrop } from "./useFileDrop";

const ACCEPTED = "image/*,.txt,.zip,video/*";

/** A place for photos: dropped files and folders, zip files, the clipboard, and what a phone's camera takes. */
export function PhotoDrop({ onFiles, small = false }: { onFiles: (files: File[]) => void; small?: boolean }) {
  const { t } = useTranslation();
  const drop = useFileDrop(onFiles);
  const folder = useRef<HTMLInputElement>(null);
  useEffect(() => {
    folder.current?.setAttribute("webkitdirectory", "");
    const paste = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) onFiles(files.map(named));
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, [onFiles]);
  return (
    <div className="drop" data-over={drop.over} style={small ? { padding: "18px 16px" } : undefined} {...drop.handlers}>
      {!small && <IconPhotoPlus size={44} stroke={1.2} color="var(--mantine-primary-color-filled)" aria-hidden />}
      <Text fz={small ? 15 : 19} fw={600} mt={small ? 0 : 10}>{small ? t("photos.more") : t("photos.drop")}</Text>
      {!small && <Text c="dimmed" mt={4}>{t("photos.dropText")}</Text>}
      <Group justify="center" mt="md" gap="sm">
        <FileButton multiple accept={ACCEPTED} onChange={(files) => files.length && onFiles(files)}>
          {(props) => <Button {...props} size={small ? "sm" : "md"} variant={small ? "default" : "filled"}>{t("photos.choose")}</Button>}
        </FileButton>
        <Button size={small ? "sm" : "md"} variant="default" leftSection={<IconFolder size={18} aria-hidden />} onClick={() => folder.current?.click()} visibleFrom="sm">{t("photos.folder")}</Button>
        <input ref={folder} type="file" multiple hidden aria-hidden tabIndex={-1} data-folder onChange={(event) => { onFiles([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
      </Group>
    </div>
  );
}

/** Pasted images are all called `image.png`. */
const named = (file: File, index: number) =>
  new File([file], `pasted-${Date.now()}-${index}.${file.type.split("/")[1] ?? "png"}`, { type: file.type });
