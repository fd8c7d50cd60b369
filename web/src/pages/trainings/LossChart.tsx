import "uplot/dist/uPlot.min.css";
import { useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import type { Losses } from "../../api/types";

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
    const curve = (label: string, stroke: string) => ({ label, stroke, width: 2, spanGaps: true, points: { show: false } });
    const series = hasPrior ? [{ label: t("loss.step") }, curve(t("loss.subject"), ink), curve(t("loss.prior"), dimmed)] : [{ label: t("loss.step") }, curve(t("loss.loss"), ink)];
    const data = hasPrior ? [losses.step, losses.subject, losses.prior] : [losses.step, losses.loss];
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
