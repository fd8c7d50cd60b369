import { IconMask } from "@tabler/icons-react";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import type { DatasetImage } from "../../api/types";
import { thumbnail } from "../newSubject/names";

interface Props {
  dataset: string;
  image: DatasetImage | undefined;
  index: number;
  chosen: boolean;
  onToggle: (path: string) => void;
  onOpen: (index: number) => void;
}

/** One image of the grid, of plain elements: many of them come into sight in each frame of a fast scroll. */
export const ImageCell = memo(function ImageCell({ dataset, image, index, chosen, onToggle, onOpen }: Props) {
  const { t } = useTranslation();
  if (!image) return <div className="picture" style={{ aspectRatio: "1" }} />;
  return (
    <div style={{ position: "relative" }}>
      <button type="button" className="picture" data-chosen={chosen || undefined} style={{ aspectRatio: "1" }} onClick={() => onOpen(index)} aria-label={t("datasets.open", { name: image.path })}>
        <img src={thumbnail(dataset, image.path, 256, image.changed)} alt="" decoding="async" />
      </button>
      <label className="cell-check"><input type="checkbox" checked={chosen} onChange={() => onToggle(image.path)} aria-label={t("datasets.choose", { name: image.path })} /></label>
      {image.mask && <span className="cell-mask" title={t("canvas.set.tabs.mask")}><IconMask size={15} aria-label={t("canvas.set.tabs.mask")} /></span>}
      <div className="cell-caption" data-empty={!image.caption || undefined}>{image.caption || t("datasets.noCaption")}</div>
    </div>
  );
});
