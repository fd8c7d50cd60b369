import { Slider, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Picture } from "../../api/types";

/** Two pictures, one above the other, with a slider between them. */
export function Compare({ pictures }: { pictures: Picture[] }) {
  const { t } = useTranslation();
  const [share, setShare] = useState(50);
  const [left, right] = pictures;
  if (!left || !right) return <Text mb="md" role="status">{t("gallery.compareChoose", { count: 2 - pictures.length })}</Text>;
  return (
    <div className="card" style={{ maxWidth: 640, margin: "0 auto 20px" }}>
      <div style={{ position: "relative", aspectRatio: `${left.width} / ${left.height}`, borderRadius: 10, overflow: "hidden" }}>
        <img src={right.url} alt={right.prompt} style={{ position: "absolute", inset: 0, width: "100%", height: "100%", objectFit: "cover" }} />
        <img src={left.url} alt={left.prompt} style={{ position: "absolute", inset: 0, width: "100%", height: "100%", objectFit: "cover", clipPath: `inset(0 ${100 - share}% 0 0)` }} />
        <div style={{ position: "absolute", insetBlock: 0, left: `${share}%`, width: 2, background: "#fff", boxShadow: "0 0 4px #0008" }} />
      </div>
      <Slider mt="md" value={share} onChange={setShare} label={null} thumbLabel={t("gallery.compareSlider")} />
      <Text size="sm" mt="xs" c="dimmed">{t("gallery.compareSeeds", { left: left.seed, right: right.seed })}</Text>
    </div>
  );
}
