import { ActionIcon, Group, SegmentedControl, Slider, Text, Tooltip, VisuallyHidden } from "@mantine/core";
import { IconArrowBackUp, IconArrowForwardUp, IconBrush, IconContrast, IconEraser, IconTrash } from "@tabler/icons-react";
import { type KeyboardEvent, type PointerEvent, useCallback, useEffect, useId, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { MaskPainter, type Point, type Tool } from "./MaskPainter";

interface Props {
  /** Address of the picture that is painted on. */
  image: string;
  /** What the picture shows, for who cannot see it. */
  label: string;
  /** A grey mask to begin with: white is painted. */
  initial: string | null;
  onChange: (mask: string | null) => void;
  /** CSS height that the picture may have at most. */
  tallest?: string;
}

const SIZES = { least: 1, most: 40, step: 3 };
const TOOLS = [["paint", IconBrush], ["erase", IconEraser]] as const;

/** Paint a mask on a picture: with a mouse, a pen, a finger, or the keyboard. Each stroke can be taken back. */
export function MaskEditor({ image, label, initial, onChange, tallest = "60dvh" }: Props) {
  const { t } = useTranslation();
  const help = useId();
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<MaskPainter | null>(null);
  const begunWith = useRef(initial);
  const [shape, setShape] = useState<{ width: number; height: number } | null>(null);
  const [tool, setTool] = useState<Tool>("paint");
  const [size, setSize] = useState(12);
  const [, setChanges] = useState(0);
  const [cursor, setCursor] = useState<Point | null>(null);
  const [penDown, setPenDown] = useState(false);

  useEffect(() => {
    const shown = new Image();
    shown.onload = () => setShape({ width: shown.naturalWidth, height: shown.naturalHeight });
    shown.src = image;
    return () => {
      shown.onload = null;
    };
  }, [image]);

  useEffect(() => {
    if (!shape || !canvas.current) return;
    painter.current = new MaskPainter(canvas.current, shape.width, shape.height);
    if (begunWith.current) void painter.current.load(begunWith.current).then(() => setChanges((n) => n + 1));
  }, [shape]);

  const diameter = useCallback(
    () => (size / 100) * Math.max(canvas.current?.width ?? 1, canvas.current?.height ?? 1),
    [size],
  );
  const changed = () => {
    onChange(painter.current?.png() ?? null);
    setChanges((n) => n + 1);
  };
  const at = (event: PointerEvent<HTMLCanvasElement>): Point => {
    const box = event.currentTarget.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * event.currentTarget.width, ((event.clientY - box.top) / box.height) * event.currentTarget.height];
  };
  /** A pen that is pressed lightly paints a thinner line. */
  const pressed = (event: { pointerType: string; pressure: number }) =>
    event.pointerType === "pen" && event.pressure > 0 ? diameter() * (0.3 + 0.7 * event.pressure) : diameter();
  const wanted = (event: PointerEvent): Tool => (event.buttons & 32 || event.button === 5 ? "erase" : tool); // a pen's other end

  const begin = (event: PointerEvent<HTMLCanvasElement>) => {
    if (event.button !== 0 && event.button !== 5) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    painter.current?.begin(at(event), wanted(event), pressed(event));
  };
  const move = (event: PointerEvent<HTMLCanvasElement>) => {
    setCursor(at(event));
    if (!painter.current?.isPainting || penDown) return;
    const box = event.currentTarget.getBoundingClientRect();
    const several = event.nativeEvent.getCoalescedEvents?.() ?? [];
    for (const one of several.length ? several : [event.nativeEvent]) {
      const point: Point = [((one.clientX - box.left) / box.width) * event.currentTarget.width, ((one.clientY - box.top) / box.height) * event.currentTarget.height];
      painter.current.extend(point, wanted(event), pressed(one));
    }
  };
  const end = () => {
    if (!painter.current?.isPainting || penDown) return;
    painter.current.end();
    changed();
  };
  const run = (action: "undo" | "redo" | "invert" | "clear") => {
    painter.current?.[action]();
    changed();
  };
  const lift = () => {
    if (!penDown) return;
    setPenDown(false);
    painter.current?.end();
    changed();
  };
  const key = (event: KeyboardEvent<HTMLCanvasElement>) => {
    const mod = event.ctrlKey || event.metaKey;
    const name = event.key.toLowerCase();
    const { width, height } = event.currentTarget;
    const here: Point = cursor ?? [width / 2, height / 2];
    const by = diameter() * (event.shiftKey ? 1 : 0.25);
    const steps: Record<string, Point> = { arrowleft: [-by, 0], arrowright: [by, 0], arrowup: [0, -by], arrowdown: [0, by] };
    const step = steps[name];
    if (mod && (name === "z" || name === "y")) run(name === "y" || event.shiftKey ? "redo" : "undo");
    else if (mod || event.altKey) return;
    else if (step) {
      const to: Point = [Math.min(width, Math.max(0, here[0] + step[0])), Math.min(height, Math.max(0, here[1] + step[1]))];
      setCursor(to);
      if (penDown) painter.current?.extend(to, tool, diameter());
    } else if (name === " ") {
      if (penDown) lift();
      else {
        setCursor(here);
        setPenDown(true);
        painter.current?.begin(here, tool, diameter());
      }
    } else if (name === "[") setSize((was) => Math.max(SIZES.least, was - SIZES.step));
    else if (name === "]") setSize((was) => Math.min(SIZES.most, was + SIZES.step));
    else if (name === "e") setTool((was) => (was === "paint" ? "erase" : "paint"));
    else if (name === "i") run("invert");
    else return;
    event.preventDefault();
  };
  const ring = cursor && canvas.current && { left: `${(100 * cursor[0]) / canvas.current.width}%`, top: `${(100 * cursor[1]) / canvas.current.height}%`, width: `${(100 * diameter()) / canvas.current.width}%` };
  const actions = [
    ["undo", t("canvas.undo"), IconArrowBackUp, !painter.current?.canUndo],
    ["redo", t("canvas.redo"), IconArrowForwardUp, !painter.current?.canRedo],
    ["invert", t("canvas.invert"), IconContrast, !painter.current],
    ["clear", t("canvas.clear"), IconTrash, !painter.current],
  ] as const;
  return (
    <div>
      <div className="paint-area" style={shape ? { aspectRatio: `${shape.width} / ${shape.height}`, maxWidth: `calc(${tallest} * ${shape.width / shape.height})` } : { aspectRatio: "1" }}>
        <img src={image} alt={label} draggable={false} />
        <canvas
          ref={canvas} tabIndex={0} role="application" aria-label={t("canvas.maskLabel")} aria-describedby={help}
          onPointerDown={begin} onPointerMove={move} onPointerUp={end} onPointerCancel={end} onPointerLeave={() => !penDown && setCursor(null)}
          onKeyDown={key} onFocus={(event) => setCursor((was) => was ?? [event.currentTarget.width / 2, event.currentTarget.height / 2])} onBlur={lift}
        />
        {ring && <div className="brush-ring" data-down={penDown || undefined} style={ring} />}
      </div>
      <VisuallyHidden id={help}>{t("canvas.maskKeys")}</VisuallyHidden>
      <VisuallyHidden role="status">{penDown ? t("canvas.penDown") : ""}</VisuallyHidden>
      <Group mt="xs" gap="xs" wrap="nowrap">
        <SegmentedControl
          size="xs" value={tool} onChange={(value) => setTool(value as Tool)} aria-label={t("canvas.tool")}
          data={TOOLS.map(([value, ToolIcon]) => ({ value, label: <span title={t(`canvas.${value}`)}><ToolIcon size={17} stroke={1.7} style={{ display: "block", margin: "2px 3px" }} aria-hidden /><VisuallyHidden>{t(`canvas.${value}`)}</VisuallyHidden></span> }))}
        />
        <div style={{ flex: 1 }} />
        {actions.map(([action, name, ActionShown, disabled]) => (
          <Tooltip key={action} label={name}>
            <ActionIcon variant="default" size={30} disabled={disabled} onClick={() => run(action)} aria-label={name}><ActionShown size={17} stroke={1.7} aria-hidden /></ActionIcon>
          </Tooltip>
        ))}
      </Group>
      <Group mt={10} gap="sm" wrap="nowrap">
        <Text size="sm">{t("canvas.size")}</Text>
        <Slider style={{ flex: 1 }} min={SIZES.least} max={SIZES.most} value={size} onChange={setSize} label={null} thumbLabel={t("canvas.size")} />
      </Group>
    </div>
  );
}
