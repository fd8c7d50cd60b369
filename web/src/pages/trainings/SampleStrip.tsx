import { Modal, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { samplesQuery } from "../../api/queries";
import type { Sample } from "../../api/types";
import { ErrorState } from "../../components/States";

/** Pictures of the same prompts and seeds while it learned: a row for each prompt, from the first to the last. */
export function SampleStrip({ run, isActive }: { run: string; isActive: boolean }) {
  const { t } = useTranslation();
  const [opened, setOpened] = useState<Sample | null>(null);
  const { data: samples = [], error } = useQuery({ ...samplesQuery(run), refetchInterval: isActive ? 10_000 : false });
  const prompts = [...new Map(samples.map((one) => [one.number, one.prompt]))].sort(([a], [b]) => a - b);
  if (error) return <ErrorState error={error} />;
  if (samples.length === 0) return <Text c="dimmed">{isActive ? t("samples.coming") : t("samples.none")}</Text>;
  return (
    <>
      {prompts.map(([number, prompt]) => (
        <div key={number} style={{ marginBottom: 16 }}>
          <Text size="sm" c="dimmed" mb={6} lineClamp={1}>{prompt}</Text>
          <div className="strip" tabIndex={0} role="group" aria-label={prompt}>
            {samples.filter((one) => one.number === number).map((one) => (
              <div key={one.step} style={{ width: 128 }}>
                <button type="button" className="picture" style={{ aspectRatio: "1" }} onClick={() => setOpened(one)} aria-label={t("samples.open", { step: one.step })}><img src={one.url} alt="" loading="lazy" /></button>
                <Text size="xs" c="dimmed" ta="center" mt={4} className="num">{t("samples.step", { step: one.step })}</Text>
              </div>
            ))}
          </div>
        </div>
      ))}
      <Modal opened={opened !== null} onClose={() => setOpened(null)} title={opened && t("samples.step", { step: opened.step })} size="lg" closeButtonProps={{ "aria-label": t("common.close") }}>
        {opened && <><img src={opened.url} alt={opened.prompt} style={{ width: "100%", borderRadius: 12 }} /><Text mt="sm">{opened.prompt}</Text></>}
      </Modal>
    </>
  );
}
