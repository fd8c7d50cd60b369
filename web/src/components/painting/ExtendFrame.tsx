import { Text } from "@mantine/core";
import { type KeyboardEvent, type PointerEvent, useRef } from "react";
import { useTranslation } from "react-i18next";

export interface Extension {
  left: number;
  right: number;
  up: number;
  down: number;
}
export const NO_EXTENSION: Extension = { left: 0, right: 0, up: 0, down: 0 };
type Side = keyof Extension;

interface Props {
  image: string;
  /** The picture's size in pixels, as it is drawn. */
  width: number;
  height: number;
  step: number;
  value: Extension;
  onChange: (value: Extension) => void;
}

const SIDES: Side[] = ["up", "right", "down", "left"];

/** A picture whose edges are dragged outwards; what lies between is drawn. The stage is twice the picture's size. */
export function ExtendFrame({ image, width, height, step, value, onChange }: Props) {
  const { t } = useTranslation();
  const stage = useRef<HTMLDivElement>(null);
  const drag = useRef<{ side: Side; from: number; value: number } | null>(null);
  const most = (side: Side) => Math.floor((side === "left" || side === "right" ? width : height) / 2 / step) * step;
  const set = (side: Side, pixels: number) => onChange({ ...value, [side]: Math.min(most(side), Math.max(0, Math.round(pixels / step) * step)) });

  const begin = (event: PointerEvent, side: Side) => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = { side, from: side === "left" || side === "right" ? event.clientX : event.clientY, value: value[side] };
  };
  const move = (event: PointerEvent) => {
    const now = drag.current;
    const area = stage.current?.getBoundingClientRect();
    if (!now || !area) return;
    const across = now.side === "left" || now.side === "right";
    const scale = across ? (2 * width) / area.width : (2 * height) / area.height;
    const by = (across ? event.clientX : event.clientY) - now.from;
    set(now.side, now.value + (now.side === "left" || now.side === "up" ? -by : by) * scale);
  };
  const key = (event: KeyboardEvent, side: Side) => {
    const outwards: Record<Side, string> = { left: "ArrowLeft", right: "ArrowRight", up: "ArrowUp", down: "ArrowDown" };
    const inwards: Record<Side, string> = { left: "ArrowRight", right: "ArrowLeft", up: "ArrowDown", down: "ArrowUp" };
    const by = event.shiftKey ? 8 * step : step;
    if (event.key === outwards[side]) set(side, value[side] + by);
    else if (event.key === inwards[side]) set(side, value[side] - by);
    else if (event.key === "Home") set(side, 0);
    else if (event.key === "End") set(side, most(side));
    else return;
    event.preventDefault();
  };
  return (
    <div>
      <div ref={stage} className="extend-stage" style={{ aspectRatio: width / height }}>
        <img src={image} alt="" draggable={false} />
        <div className="extend-frame" style={{ left: inset(value.left, width), right: inset(value.right, width), top: inset(value.up, height), bottom: inset(value.down, height) }}>
          {SIDES.map((side) => (
            <div
              key={side} className={`extend-handle ${side}`} role="slider" tabIndex={0} aria-orientation={side === "left" || side === "right" ? "horizontal" : "vertical"}
              aria-label={t(`canvas.extend.${side}`)} aria-valuemin={0} aria-valuemax={most(side)} aria-valuenow={value[side]} aria-valuetext={t("canvas.extend.pixels", { pixels: value[side] })}
              onPointerDown={(event) => begin(event, side)} onPointerMove={move} onPointerUp={() => { drag.current = null; }} onPointerCancel={() => { drag.current = null; }} onKeyDown={(event) => key(event, side)}
            />
          ))}
        </div>
      </div>
      <Text size="sm" c="dimmed" mt={6} className="num">{t("canvas.extend.result", { width: width + value.left + value.right, height: height + value.up + value.down })}</Text>
    </div>
  );
}

/** How far the frame is from an edge of the stage: a quarter of the stage, less what is added. */
const inset = (pixels: number, side: number) => `${25 - (50 * pixels) / side}%`;
