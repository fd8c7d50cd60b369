import { Button, FileButton, Group, Slider, Stack, Switch, Text } from "@mantine/core";
import { IconPhotoUp, IconX } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { dataUrl } from "../../components/files";
import { useFileDrop } from "../../components/useFileDrop";
import { changeDraft, useDraft } from "./draft";
import { MaskBrush } from "./MaskBrush";

/** A picture to begin from, and a brush that marks what is drawn anew. */
export function StartPicture() {
  const { t } = useTranslation();
  const { image, mask, onlyMasked } = useDraft();
  const take = async (file: File | null | undefined) => {
    if (file) changeDraft({ image: { data: await dataUrl(file), strength: 0.6 }, mask: null });
  };
  const drop = useFileDrop((files) => void take(files[0]));
  if (!image) {
    return (
      <div {...drop.handlers}>
        <FileButton accept="image/*" onChange={(file) => void take(file)}>
          {(props) => (
            <Button {...props} fullWidth variant="default" styles={{ root: { borderStyle: "dashed", borderColor: drop.over ? "var(--mantine-primary-color-filled)" : undefined } }} leftSection={<IconPhotoUp size={18} aria-hidden />}>
              {t("start.choose")}
            </Button>
          )}
        </FileButton>
      </div>
    );
  }
  return (
    <Stack gap="sm">
      <Group justify="space-between">
        <Text size="sm" fw={500}>{t("start.title")}</Text>
        <Button size="compact-sm" variant="subtle" color="gray" leftSection={<IconX size={15} aria-hidden />} onClick={() => changeDraft({ image: null, mask: null })}>{t("start.remove")}</Button>
      </Group>
      <MaskBrush key={image.data.length} image={image.data} mask={mask} onChange={(next) => changeDraft({ mask: next })} />
      <div>
        <Group justify="space-between"><Text size="sm" fw={500}>{t("start.strength")}</Text><Text size="sm" className="num">{image.strength.toFixed(2)}</Text></Group>
        <Slider min={0.05} max={1} step={0.05} value={image.strength} onChange={(strength) => changeDraft({ image: { ...image, strength } })} label={null} thumbLabel={t("start.strength")} />
        <Group justify="space-between"><Text size="xs" c="dimmed">{t("start.little")}</Text><Text size="xs" c="dimmed">{t("start.much")}</Text></Group>
      </div>
      {mask && <Switch label={t("start.onlyMasked")} checked={onlyMasked} onChange={(event) => changeDraft({ onlyMasked: event.currentTarget.checked })} />}
    </Stack>
  );
}
