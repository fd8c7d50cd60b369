import { Button, Group, Slider, Text } from "@mantine/core";
import { type PointerEvent, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";

const INK = "#e8590c";

interface Props {
  image: string;
  mask: string | null;
  onChange: (mask: string | null) => void;
}

/** Paint on a picture what is to be drawn anew. Each stroke can be taken back. */
export function MaskBrush({ image, mask, onChange }: Props) {
  const { t } = useTranslation();
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<[number, number] | null>(null);
  const strokes = useRef<ImageData[]>([]);
  const [size, setSize] = useState(12);
  const [shape, setShape] = useState<{ width: number; height: number } | null>(null);

  useEffect(() => {
    const shown = new Image();
    shown.onload = () => setShape({ width: shown.naturalWidth, height: shown.naturalHeight });
    shown.src = image;
  }, [image]);

  const at = (event: PointerEvent<HTMLCanvasElement>): [number, number] => {
    const box = event.currentTarget.getBoundingClientRect();
    const { width, height } = event.currentTarget;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  const paint = (to: [number, number]) => {
    const context = canvas.current?.getContext("2d");
    if (!context || !canvas.current) return;
    const [x, y] = last.current ?? to;
    context.strokeStyle = INK;
    context.lineCap = "round";
    context.lineWidth = (size / 100) * Math.max(canvas.current.width, canvas.current.height);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(...to);
    context.stroke();
    last.current = to;
  };
  const begin = (event: PointerEvent<HTMLCanvasElement>) => {
    const context = event.currentTarget.getContext("2d");
    if (!context) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    strokes.current.push(context.getImageData(0, 0, event.currentTarget.width, event.currentTarget.height));
    paint(at(event));
  };
  const end = () => {
    if (!last.current) return;
    last.current = null;
    onChange(maskOf(canvas.current));
  };
  const undo = () => {
    const before = strokes.current.pop();
    if (before) canvas.current?.getContext("2d")?.putImageData(before, 0, 0);
    onChange(strokes.current.length ? maskOf(canvas.current) : null);
  };
  return (
    <div>
      <div className="paint">
        <img src={image} alt={t("start.title")} />
        {shape && (
          <canvas
            ref={canvas} width={shape.width} height={shape.height} role="img" aria-label={t("start.brush")}
            onPointerDown={begin} onPointerMove={(event) => last.current && paint(at(event))} onPointerUp={end} onPointerCancel={end}
          />
        )}
      </div>
      <Text size="xs" c="dimmed" mt={6}>{t("start.brush")}</Text>
      <Group mt="xs" gap="sm" wrap="nowrap">
        <Text size="sm">{t("start.brushSize")}</Text>
        <Slider style={{ flex: 1 }} min={2} max={40} value={size} onChange={setSize} label={null} thumbLabel={t("start.brushSize")} />
        {mask && <Button size="compact-sm" variant="default" onClick={undo}>{t("common.undo")}</Button>}
      </Group>
    </div>
  );
}

/** White where something is painted, black elsewhere. */
function maskOf(painted: HTMLCanvasElement | null): string | null {
  if (!painted) return null;
  const mask = document.createElement("canvas");
  mask.width = painted.width;
  mask.height = painted.height;
  const context = mask.getContext("2d");
  if (!context) return null;
  context.drawImage(painted, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, mask.width, mask.height);
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#000";
  context.fillRect(0, 0, mask.width, mask.height);
  return mask.toDataURL("image/png");
}
