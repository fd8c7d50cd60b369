import { Badge, Group, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import type { Run } from "../../api/types";
import { useDuration } from "../../components/duration";

const COLORS: Record<Run["state"], string> = { waiting: "var(--mantine-color-text)", running: "var(--mantine-primary-color-filled)", stopping: "var(--mantine-color-text)", stopped: "var(--mantine-color-text)", failed: "var(--bad)", done: "var(--good)" };

export function RunState({ run }: { run: Run }) {
  const { t } = useTranslation();
  return <Badge variant="default" tt="none" style={{ flexShrink: 0, color: COLORS[run.state], background: "var(--surface-2)", borderColor: "transparent" }}>{t(`run.state.${run.state}`)}</Badge>;
}

/** What a training does now, in one line. */
export function useRunLine(): (run: Run) => string {
  const { t, i18n } = useTranslation();
  const duration = useDuration();
  return (run) => {
    if (run.state === "waiting") return run.waits_for ? t("run.waitsFor", { what: run.waits_for }) : t("run.waits", { place: run.place ?? 1 });
    if (run.state === "failed") return run.error;
    if (run.state === "running" && (run.steps === 0 || run.step === 0)) return t("run.preparing");
    const steps = t("run.step", { step: run.step.toLocaleString(i18n.language), steps: run.steps.toLocaleString(i18n.language) });
    return run.state === "running" && run.seconds_left !== null ? `${steps} · ${t("run.left", { time: duration(run.seconds_left) })}` : steps;
  };
}

/** One training in a list. */
export function RunRow({ run }: { run: Run }) {
  const line = useRunLine();
  const percent = run.steps ? Math.round((100 * run.step) / run.steps) : 0;
  const isActive = ["running", "stopping"].includes(run.state);
  return (
    <Link to="/trainings/$name" params={{ name: run.name }} className="card card-link focusable" style={{ padding: "14px 18px" }}>
      <Group justify="space-between" wrap="nowrap">
        <Text fw={600} truncate>{run.name}</Text>
        <RunState run={run} />
      </Group>
      <Text size="sm" c="dimmed" className="num" lineClamp={2}>{line(run)}</Text>
      {isActive && <div className="bar" style={{ marginTop: 8 }} role="progressbar" aria-label={line(run)} aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100}><div style={{ width: `${percent}%` }} /></div>}
    </Link>
  );
}
