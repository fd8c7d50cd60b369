import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Task } from "../api/types";

/** How far a task is, in words and as a bar. */
export function TaskProgress({ task, what }: { task: Task | null; what: string }) {
  const { t } = useTranslation();
  if (!task) return null;
  const { progress } = task;
  const percent = progress?.total ? Math.round((100 * progress.done) / progress.total) : null;
  const says = task.place ? t("task.waits", { what, place: task.place }) : progress?.total ? t("task.counted", { what, done: progress.done, total: progress.total }) : what;
  return <ProgressLine says={says} percent={percent} />;
}

export function ProgressLine({ says, percent }: { says: string; percent: number | null }) {
  return (
    <div role="status">
      <Text size="sm" mb={6} className="num">{says}</Text>
      <div className="bar" role="progressbar" aria-label={says} aria-valuemin={0} aria-valuemax={100} {...(percent === null ? {} : { "aria-valuenow": percent })}>
        <div style={{ width: `${percent ?? 35}%` }} className={percent === null ? "indefinite" : undefined} />
      </div>
    </div>
  );
}
