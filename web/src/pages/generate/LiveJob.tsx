import { Button, Group, Text } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { remove } from "../../api/client";
import type { Job } from "../../api/types";
import { useLiveJob } from "./useJobs";

/** A job on its way: its preview, how far it is, and a way to stop it. */
export function LiveJob({ job }: { job: Job }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const live = useLiveJob(job);
  const cancel = useMutation({
    mutationFn: () => remove(`/jobs/${job.id}`),
    onSettled: () => client.invalidateQueries({ queryKey: ["jobs"] }),
  });
  const percent = Math.round(100 * live.progress);
  const says = live.place !== null && live.progress === 0 ? t("generate.waiting", { place: live.place + 1 }) : t("generate.drawing", { percent });
  const isWaiting = live.place !== null && live.progress === 0;
  return (
    <section className="card" aria-label={t("generate.onItsWay")} style={{ padding: 14 }}>
      <Group wrap="nowrap" align="center">
        {!isWaiting && (
          <div className="picture" style={{ width: 88, aspectRatio: "1", flexShrink: 0 }}>
            {live.preview && <img src={`data:image/png;base64,${live.preview}`} alt={t("generate.preview")} />}
          </div>
        )}
        <div style={{ flex: 1, minWidth: 0 }}>
          <Text lineClamp={isWaiting ? 1 : 2} fw={500}>{job.prompt || t("generate.noPrompt")}</Text>
          <Text size="sm" c="dimmed" className="num" role="status">{says}</Text>
          {!isWaiting && <div className="bar" style={{ marginTop: 8 }} role="progressbar" aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100} aria-label={says}><div style={{ width: `${percent}%` }} /></div>}
        </div>
        <Button size="compact-sm" variant="default" onClick={() => cancel.mutate()} loading={cancel.isPending}>{t("common.stop")}</Button>
      </Group>
    </section>
  );
}
