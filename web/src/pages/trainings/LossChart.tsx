import "uplot/dist/uPlot.min.css";
import { useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import type { Losses } from "../../api/types";
import { smoothed } from "./smoothed";

const HEIGHT = 240;

/** The loss over the steps, that of the subject and that of the class images apart where both exist. */
export function LossChart({ losses }: { losses: Losses }) {
  const { t } = useTranslation();
  const { ref, width } = useElementSize();
  const holder = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme();
  const hasPrior = losses.prior.some((value) => value !== null);

  useEffect(() => {
    if (!holder.current || width === 0) return;
    const color = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const [ink, line, dimmed] = [color("--mantine-primary-color-filled"), color("--line"), color("--mantine-color-dimmed")];
    const axis = { stroke: dimmed, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px 'Inter Variable', sans-serif" };
    const curve = (label: string, stroke: string) => ({ label, stroke, width: 2.5, spanGaps: true, points: { show: false }, value: (_: uPlot, value: number | null) => value?.toFixed(4) ?? "–" });
    const main = hasPrior ? losses.subject : losses.loss;
    const faint = { ...curve(t("loss.each"), `color-mix(in srgb, ${ink} 30%, transparent)`), width: 1 };
    const series = [{ label: t("loss.step") }, faint, curve(hasPrior ? t("loss.subject") : t("loss.loss"), ink), ...(hasPrior ? [curve(t("loss.prior"), dimmed)] : [])];
    const data = [losses.step, main, smoothed(main), ...(hasPrior ? [smoothed(losses.prior)] : [])];
    const chart = new uPlot({ width, height: HEIGHT, series, scales: { x: { time: false } }, axes: [axis, { ...axis, size: 58 }], cursor: { drag: { x: true, y: false } } }, data as uPlot.AlignedData, holder.current);
    return () => chart.destroy();
  }, [width, losses, hasPrior, scheme, t]);

  const first = losses.loss.find((value) => value !== null);
  const last = losses.loss.findLast((value) => value !== null);
  const says = t("loss.says", { first: first?.toFixed(4) ?? "–", last: last?.toFixed(4) ?? "–" });
  return (
    <figure style={{ margin: 0 }} role="img" aria-label={says}>
      <div ref={ref}><div ref={holder} style={{ minHeight: HEIGHT }} /></div>
    </figure>
  );
}
