import { Text } from "@mantine/core";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import type { Slider } from "../../api/pages";

/** The images of the training's end: a row for each seed, a column for each strength; outside of the range they are faint. */
export function RangeStrip({ slider, chosen, onChoose }: { slider: Slider; chosen: number; onChoose: (strength: number) => void }) {
  const { t, i18n } = useTranslation();
  const number = (value: number) => value.toLocaleString(i18n.language);
  const strip = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const [outer, column] = [strip.current, strip.current?.querySelector<HTMLElement>("[aria-pressed=true]")];
    if (outer && column) outer.scrollLeft = column.offsetLeft - outer.offsetLeft - (outer.clientWidth - column.clientWidth) / 2;
  }, [chosen]);
  return (
    <div ref={strip} className="strip" role="group" aria-label={t("pages.sliders.range")} tabIndex={0}>
      {slider.places.map((place) => {
        const isOutside = place.strength < slider.low || place.strength > slider.high;
        const says = t(isOutside ? "pages.sliders.outside" : "pages.sliders.inside", { strength: number(place.strength) });
        return (
          <button key={place.strength} type="button" className="range-column" aria-pressed={place.strength === chosen} aria-label={says} title={says} onClick={() => onChoose(place.strength)}>
            {place.images.map((url) => <img key={url} src={url} alt="" loading="lazy" style={isOutside ? { opacity: 0.4 } : undefined} />)}
            <Text size="sm" ta="center" className="num" fw={place.strength === chosen ? 650 : 400} c={isOutside ? "dimmed" : undefined}>{isOutside ? `(${number(place.strength)})` : number(place.strength)}</Text>
          </button>
        );
      })}
    </div>
  );
}
