import { Alert, Group, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { type Slider, sliderQuery } from "../../api/pages";
import { runQuery } from "../../api/queries";
import type { Run } from "../../api/types";
import { PageHead } from "../../components/PageHead";
import { ErrorState, LoadingState } from "../../components/States";
import { SampleStrip } from "../trainings/SampleStrip";
import { Actions, Progress, useRunEvents } from "../trainings/Training";
import { RunState } from "../trainings/RunRow";
import { LiveSlider } from "./LiveSlider";
import { RangeStrip } from "./RangeStrip";

export function SliderPage() {
  const { t } = useTranslation();
  const { name } = useParams({ strict: false }) as { name: string };
  const { data: run, isPending, error, refetch } = useQuery(runQuery(name));
  const isActive = run !== undefined && ["waiting", "running", "stopping"].includes(run.state);
  const doing = useRunEvents(name, isActive);
  return (
    <div className="page">
      <PageHead title={name} text={run && <RunState run={run} />}>{run && <Actions run={run} isSlider />}</PageHead>
      {isPending && <LoadingState what={t("run.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {run && isActive && (
        <Stack gap={34}>
          <Progress run={run} doing={doing} />
          <section><Title order={2} fz={18} mb="sm">{t("run.samples")}</Title><div className="card"><SampleStrip run={name} isActive /></div></section>
        </Stack>
      )}
      {run && !isActive && (run.state === "done" ? <Result run={run} /> : <Progress run={run} doing={null} />)}
    </div>
  );
}

/** The range from end to end, and a control that draws at any strength in it. */
function Result({ run }: { run: Run }) {
  const { t } = useTranslation();
  const { data: slider, isPending, error, refetch } = useQuery(sliderQuery(run.name));
  const [strength, setStrength] = useState<number | null>(null);
  if (isPending) return <LoadingState what={t("pages.sliders.loadingRange")} />;
  if (!slider) return <ErrorState error={error} onRetry={() => void refetch()} />;
  const chosen = strength ?? slider.preferred;
  return (
    <Stack gap={34}>
      <About slider={slider} />
      <LiveSlider run={run} slider={slider} strength={chosen} onChange={setStrength} />
      <section>
        <Title order={2} fz={18}>{t("pages.sliders.range")}</Title>
        <Text c="dimmed" mb="sm" maw={680}>{t("pages.sliders.rangeText")}</Text>
        <div className="card"><RangeStrip slider={slider} chosen={chosen} onChoose={setStrength} /></div>
      </section>
    </Stack>
  );
}

function About({ slider }: { slider: Slider }) {
  const { t, i18n } = useTranslation();
  const number = (value: number) => value.toLocaleString(i18n.language);
  const prompt = slider.prompts[0];
  if (slider.low >= slider.high) return <Alert color="orange" icon={<IconAlertTriangle aria-hidden />} title={t("pages.sliders.nothing")}>{t("pages.sliders.nothingText")}</Alert>;
  return (
    <Group gap={36} align="flex-start">
      <div><Text size="sm" c="dimmed">{t("pages.sliders.preferred")}</Text><Text fz={24} fw={600} className="num">{number(slider.preferred)}</Text></div>
      <div><Text size="sm" c="dimmed">{t("pages.sliders.works")}</Text><Text fz={24} fw={600} className="num">{t("pages.sliders.fromTo", { low: number(slider.low), high: number(slider.high) })}</Text></div>
      {prompt && <Text c="dimmed" maw={420} style={{ alignSelf: "center" }}>{t("pages.sliders.says", { positive: prompt.positive, negative: prompt.negative || t("pages.sliders.opposite") })}</Text>}
    </Group>
  );
}
