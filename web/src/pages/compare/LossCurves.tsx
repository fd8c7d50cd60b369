import "uplot/dist/uPlot.min.css";
import { Text, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import uPlot from "uplot";
import type { Losses } from "../../api/types";
import { smoothed } from "../trainings/smoothed";
import { DASHES } from "./CompareRuns";

const HEIGHT = 300;

/** The losses of several trainings over their steps: of the subject thick, of the class images thin. */
export function LossCurves({ names, losses }: { names: string[]; losses: Losses[] }) {
  const { t } = useTranslation();
  const { ref, width } = useElementSize();
  const holder = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme();
  const hasPrior = losses.some((one) => one.prior.some((value) => value !== null));
  const isEmpty = losses.every((one) => one.step.length < 2);

  useEffect(() => {
    if (!holder.current || width === 0 || isEmpty) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--mantine-color-dimmed"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 }, font: "12px 'Inter Variable', sans-serif" };
    const series: uPlot.Series[] = [{ label: t("loss.step") }];
    const tables: uPlot.AlignedData[] = [];
    losses.forEach((one, i) => {
      const prior = one.prior.some((value) => value !== null);
      const line = { stroke: color(`--run-${i + 1}`), dash: [...(DASHES[i] ?? [])], spanGaps: true, points: { show: false }, value: (_: uPlot, value: number | null) => value?.toFixed(4) ?? "–" };
      series.push({ ...line, label: prior ? `${names[i]} · ${t("loss.subject")}` : (names[i] ?? ""), width: 2.5 });
      if (prior) series.push({ ...line, label: `${names[i]} · ${t("loss.prior")}`, width: 1.2 });
      tables.push([one.step, smoothed(prior ? one.subject : one.loss), ...(prior ? [smoothed(one.prior)] : [])] as uPlot.AlignedData);
    });
    const chart = new uPlot({ width, height: HEIGHT, series, scales: { x: { time: false } }, axes: [axis, { ...axis, size: 58 }], cursor: { drag: { x: true, y: false } } }, uPlot.join(tables), holder.current);
    return () => chart.destroy();
  }, [width, names.join(), losses, isEmpty, scheme, t]);

  if (isEmpty) return <Text c="dimmed">{t("loss.none")}</Text>;
  const says = losses.map((one, i) => `${names[i]}: ${t("loss.says", { first: firstOf(one), last: lastOf(one) })}`).join("; ");
  return (
    <figure style={{ margin: 0 }} role="img" aria-label={says}>
      <div ref={ref}><div ref={holder} style={{ minHeight: HEIGHT }} /></div>
      {hasPrior && <Text component="figcaption" size="sm" c="dimmed" mt="xs">{t("runs.compare.lines")}</Text>}
    </figure>
  );
}

const firstOf = (one: Losses) => one.loss.find((value) => value !== null)?.toFixed(4) ?? "–";
const lastOf = (one: Losses) => one.loss.findLast((value) => value !== null)?.toFixed(4) ?? "–";
