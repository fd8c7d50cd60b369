import { Checkbox, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { DatasetImage } from "../../api/types";
import { thumbnail } from "../newSubject/names";

interface Props {
  dataset: string;
  image: DatasetImage | undefined;
  chosen: boolean;
  onToggle: (path: string) => void;
  onOpen: () => void;
}

export function ImageCell({ dataset, image, chosen, onToggle, onOpen }: Props) {
  const { t } = useTranslation();
  if (!image) return <div className="picture" style={{ aspectRatio: "1" }} />;
  return (
    <div style={{ position: "relative" }}>
      <button type="button" className="picture" style={{ aspectRatio: "1", outline: chosen ? "3px solid var(--mantine-primary-color-filled)" : undefined }} onClick={onOpen} aria-label={t("datasets.open", { name: image.path })}>
        <img src={thumbnail(dataset, image.path, 256, image.changed)} alt="" loading="lazy" decoding="async" />
      </button>
      <Checkbox style={{ position: "absolute", top: 8, left: 8 }} checked={chosen} onChange={() => onToggle(image.path)} aria-label={t("datasets.choose", { name: image.path })} />
      <Text size="xs" mt={5} lineClamp={2} lh={1.35} c={image.caption ? undefined : "dimmed"}>{image.caption || t("datasets.noCaption")}</Text>
    </div>
  );
}
