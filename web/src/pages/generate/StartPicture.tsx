import { Button, FileButton, Group, NumberInput, SegmentedControl, Select, SimpleGrid, Slider, Stack, Switch, Text } from "@mantine/core";
import { IconPhotoUp, IconX } from "@tabler/icons-react";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Model } from "../../api/types";
import { ErrorState, LoadingState } from "../../components/States";
import { useFileDrop } from "../../components/useFileDrop";
import { changeDraft, type Draft, drawnSize, type MaskedContent, useDraft, withoutImage } from "./draft";
import { startImage } from "./startImage";

// The canvas is fetched when there is a picture to paint on.
const MaskEditor = lazy(async () => ({ default: (await import("../../components/painting/MaskEditor")).MaskEditor }));
const ExtendFrame = lazy(async () => ({ default: (await import("../../components/painting/ExtendFrame")).ExtendFrame }));

const BEYOND = 0.9;

/** A picture to begin from: all of it is changed, or what is painted over, or it goes on beyond its edges. */
export function StartPicture({ model }: { model: Model | undefined }) {
  const { t } = useTranslation();
  const draft = useDraft();
  const [error, setError] = useState<unknown>(null);
  const { image } = draft;
  const take = async (file: File | null | undefined) => {
    if (!file) return;
    setError(null);
    try {
      changeDraft({ ...withoutImage(), image: await startImage(file) });
    } catch {
      setError(new Error(t("canvas.notAPicture", { name: file.name })));
    }
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
        <ErrorState error={error} />
      </div>
    );
  }
  /** What is added has nothing of a picture yet: it changes more. */
  const begin = (startAs: Draft["startAs"]) =>
    changeDraft({ startAs, ...(startAs === "beyond" && image.strength < BEYOND ? { image: { ...image, strength: BEYOND } } : {}) });
  const [width, height] = drawnSize(draft, model?.native_size ?? 512);
  return (
    <Stack gap="sm" component="section" aria-label={t("start.title")}>
      <Group justify="space-between">
        <Text size="sm" fw={500}>{t("start.title")}</Text>
        <Button size="compact-sm" variant="subtle" color="gray" leftSection={<IconX size={15} aria-hidden />} onClick={() => changeDraft(withoutImage())}>{t("start.remove")}</Button>
      </Group>
      <SegmentedControl
        fullWidth size="xs" aria-label={t("canvas.startAs.label")} value={draft.startAs} onChange={(value) => begin(value as Draft["startAs"])}
        data={(["whole", "part", "beyond"] as const).map((value) => ({ value, label: t(`canvas.startAs.${value}`) }))}
      />
      <Suspense fallback={<LoadingState what={t("canvas.loading")} />}>
        {draft.startAs === "whole" && <div className="paint-area" style={{ aspectRatio: `${image.width} / ${image.height}`, maxWidth: `calc(46dvh * ${image.width / image.height})` }}><img src={image.data} alt={t("start.title")} /></div>}
        {draft.startAs === "part" && (
          <>
            <Text size="xs" c="dimmed">{t("start.brush")}</Text>
            <MaskEditor key={image.data.length} image={image.data} label={t("start.title")} initial={draft.mask} onChange={(mask) => changeDraft({ mask })} tallest="46dvh" />
          </>
        )}
        {draft.startAs === "beyond" && (
          <>
            <Text size="xs" c="dimmed">{t("canvas.extend.text")}</Text>
            <ExtendFrame image={image.data} width={width} height={height} step={width >= 512 ? 64 : 8} value={draft.extend} onChange={(extend) => changeDraft({ extend })} />
          </>
        )}
      </Suspense>
      <Strength />
      {draft.startAs === "part" && <MaskSettings />}
    </Stack>
  );
}

function Strength() {
  const { t } = useTranslation();
  const { image } = useDraft();
  if (!image) return null;
  return (
    <div>
      <Group justify="space-between"><Text size="sm" fw={500}>{t("start.strength")}</Text><Text size="sm" className="num">{image.strength.toFixed(2)}</Text></Group>
      <Slider min={0.05} max={1} step={0.05} value={image.strength} onChange={(strength) => changeDraft({ image: { ...image, strength } })} label={null} thumbLabel={t("start.strength")} />
      <Group justify="space-between"><Text size="xs" c="dimmed">{t("start.little")}</Text><Text size="xs" c="dimmed">{t("start.much")}</Text></Group>
    </div>
  );
}

const CONTENTS = ["original", "fill", "latent noise", "latent nothing"] as const;

function MaskSettings() {
  const { t } = useTranslation();
  const draft = useDraft();
  const names: Record<MaskedContent, string> = { original: t("canvas.content.original"), fill: t("canvas.content.fill"), "latent noise": t("canvas.content.noise"), "latent nothing": t("canvas.content.nothing") };
  return (
    <>
      <Switch label={t("start.onlyMasked")} checked={draft.onlyMasked} onChange={(event) => changeDraft({ onlyMasked: event.currentTarget.checked })} />
      <Select label={t("canvas.content.label")} allowDeselect={false} value={draft.maskedContent} data={CONTENTS.map((value) => ({ value, label: names[value] }))} onChange={(value) => value && changeDraft({ maskedContent: value as MaskedContent })} />
      <SimpleGrid cols={2} spacing="sm">
        <NumberInput label={t("canvas.blur")} min={0} max={64} value={draft.maskBlur} onChange={(value) => changeDraft({ maskBlur: Number(value) || 0 })} />
        <NumberInput label={t("canvas.padding")} min={0} max={512} step={8} disabled={!draft.onlyMasked} value={draft.maskPadding} onChange={(value) => changeDraft({ maskPadding: Number(value) || 0 })} />
      </SimpleGrid>
    </>
  );
}
