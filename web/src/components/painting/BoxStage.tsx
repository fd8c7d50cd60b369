import { VisuallyHidden } from "@mantine/core";
import { type KeyboardEvent, type PointerEvent, useId, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { between, type Box, changed, type Edges, isDrawn } from "./boxes";

export interface StageBox {
  id: string;
  box: Box;
  name: string;
  color: string;
}

interface Props {
  /** Width by height of the picture. */
  ratio: number;
  image: string | null;
  label: string;
  boxes: StageBox[];
  selected: string | null;
  onSelect: (id: string | null) => void;
  onChange: (id: string, box: Box) => void;
  onRemove: (id: string) => void;
  /** A box was drawn where there was none. */
  onAdd?: (box: Box) => void;
  snap?: boolean;
  tallest?: string;
}

const HANDLES: [string, Edges][] = [
  ["nw", { left: true, top: true }], ["n", { top: true }], ["ne", { right: true, top: true }], ["e", { right: true }],
  ["se", { right: true, bottom: true }], ["s", { bottom: true }], ["sw", { left: true, bottom: true }], ["w", { left: true }],
];
const STEP = 1;

interface Drag {
  id: string | null;
  edges: Edges;
  from: [number, number];
  box: Box;
}

/** Boxes on a picture, which are drawn, dragged and resized, also by keyboard: arrows move, with Shift they resize. */
export function BoxStage({ ratio, image, label, boxes, selected, onSelect, onChange, onRemove, onAdd, snap = true, tallest = "60dvh" }: Props) {
  const { t } = useTranslation();
  const help = useId();
  const stage = useRef<HTMLDivElement>(null);
  const drag = useRef<Drag | null>(null);
  const [drawn, setDrawn] = useState<Box | null>(null);

  const at = (event: PointerEvent): [number, number] => {
    const area = stage.current?.getBoundingClientRect();
    return area ? [((event.clientX - area.left) / area.width) * 100, ((event.clientY - area.top) / area.height) * 100] : [0, 0];
  };
  const begin = (event: PointerEvent, id: string | null, edges: Edges, box: Box) => {
    if (event.button !== 0 || (id === null && !onAdd)) return;
    event.stopPropagation();
    stage.current?.setPointerCapture(event.pointerId);
    drag.current = { id, edges, from: at(event), box };
    onSelect(id);
  };
  const move = (event: PointerEvent) => {
    const now = drag.current;
    if (!now) return;
    const to = at(event);
    if (now.id === null) setDrawn(between(now.from, to));
    else onChange(now.id, changed(now.box, now.edges, to[0] - now.from[0], to[1] - now.from[1], snap && !event.altKey));
  };
  const end = () => {
    if (drag.current?.id === null && drawn && isDrawn(drawn)) onAdd?.(drawn);
    drag.current = null;
    setDrawn(null);
  };
  const key = (event: KeyboardEvent, one: StageBox) => {
    const by = event.ctrlKey || event.metaKey ? 5 * STEP : STEP;
    const steps: Record<string, [number, number]> = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    const step = steps[event.key];
    if (step) onChange(one.id, changed(one.box, event.shiftKey ? { right: true, bottom: true } : {}, ...step, false));
    else if (event.key === "Delete" || event.key === "Backspace") onRemove(one.id);
    else return;
    event.preventDefault();
  };
  return (
    <>
      <div
        ref={stage} className="box-stage" role="group" aria-label={label} aria-describedby={help}
        style={{ aspectRatio: ratio, maxWidth: `calc(${tallest} * ${ratio})`, cursor: onAdd ? "crosshair" : undefined }}
        onPointerDown={(event) => begin(event, null, {}, { left: 0, top: 0, right: 0, bottom: 0 })} onPointerMove={move} onPointerUp={end} onPointerCancel={end}
      >
        {image && <img src={image} alt="" draggable={false} />}
        {boxes.map((one) => (
          <div
            key={one.id} className="stage-box" role="button" tabIndex={0} aria-pressed={one.id === selected} aria-label={t("canvas.box", { name: one.name, left: Math.round(one.box.left), top: Math.round(one.box.top), right: Math.round(one.box.right), bottom: Math.round(one.box.bottom) })}
            data-selected={one.id === selected || undefined}
            style={{ ...placed(one.box), "--box": one.color } as React.CSSProperties}
            onPointerDown={(event) => begin(event, one.id, {}, one.box)} onKeyDown={(event) => key(event, one)} onFocus={() => onSelect(one.id)}
          >
            <span className="stage-name">{one.name}</span>
            {one.id === selected && HANDLES.map(([place, edges]) => <span key={place} className={`stage-handle ${place}`} data-handle={place} onPointerDown={(event) => begin(event, one.id, edges, one.box)} />)}
          </div>
        ))}
        {drawn && <div className="stage-box drawn" style={placed(drawn)} />}
      </div>
      <VisuallyHidden id={help}>{t("canvas.boxKeys")}</VisuallyHidden>
    </>
  );
}

const placed = (box: Box) => ({ left: `${box.left}%`, top: `${box.top}%`, width: `${box.right - box.left}%`, height: `${box.bottom - box.top}%` });
