import { ActionIcon, Anchor, Badge, Button, Group, Stack, Text, Title, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconBrush, IconX } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { encodePath, post, remove } from "../../api/client";
import { servedQuery } from "../../api/pages";
import { useScope } from "../../api/queries";
import type { DeviceMemory, Model } from "../../api/types";
import { bytesText } from "../../components/files";
import { ErrorState, LoadingState } from "../../components/States";
import { changeDraft } from "../generate/draft";

const STATES = ["cold", "loading", "warm", "parked", "failed"] as const;
const COLORS = { cold: "gray", loading: "orange", warm: "green", parked: "blue", failed: "red" } as const;

/** What is drawn with: of which training, whether it is in memory, and how much memory models take. */
export function Served() {
  const { t } = useTranslation();
  const { data, isPending, error, refetch } = useQuery(servedQuery);
  return (
    <section>
      <Title order={2} fz={18} mb="sm">{t("pages.models.drawn")}</Title>
      {isPending && <LoadingState what={t("home.loadingModels")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      <Stack gap="sm">
        {data?.models.map((model) => <Row key={model.name} model={model} />)}
        {data?.memory.map((one, i) => <Memory key={i} memory={one} />)}
      </Stack>
    </section>
  );
}

function Row({ model }: { model: Model }) {
  const { t, i18n } = useTranslation();
  const state = STATES.find((one) => one === model.state) ?? "cold";
  return (
    <Group className="card" justify="space-between" gap="sm" style={{ padding: "14px 18px" }} role="group" aria-label={model.name}>
      <div style={{ minWidth: 0, flex: "1 1 240px" }}>
        <Group gap={8}>
          <Text fw={600}>{model.name}</Text>
          <Badge variant="light" color={COLORS[state]} c="var(--mantine-color-text)" tt="none" fw={500}>{t(`pages.models.states.${state}`)}</Badge>
        </Group>
        <Text size="sm" c="dimmed" className="num">
          {model.run && <>{t("pages.models.ofRun")} <Anchor component={Link} to={`/trainings/${encodeURIComponent(model.run)}`} size="sm">{model.run}</Anchor> · </>}
          {model.base ? t("pages.models.onBase", { base: model.base, size: bytesText(model.bytes, i18n.language) }) : bytesText(model.bytes, i18n.language)}
          {` · ${model.native_size} × ${model.native_size}`}
        </Text>
      </div>
      <Group gap={6} wrap="nowrap">
        <Button component={Link} to="/generate" variant="default" leftSection={<IconBrush size={17} aria-hidden />} onClick={() => changeDraft({ model: model.name, strengths: {} })}>{t("generate.draw")}</Button>
        {model.run && <TakeAway model={model.name} run={model.run} />}
      </Group>
    </Group>
  );
}

/** The training stays, so that it can be offered again: that is what undo does. */
function TakeAway({ model, run }: { model: string; run: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const mayTrain = useScope("train");
  const refresh = () => Promise.all([client.invalidateQueries({ queryKey: ["models"] }), client.invalidateQueries({ queryKey: ["runs"] })]);
  const undo = useMutation({ mutationFn: () => post(`/runs/${encodeURIComponent(run)}/serve`, { name: model }), onSettled: refresh });
  const take = useMutation({
    mutationFn: () => remove(`/models/${encodePath(model)}`),
    onSettled: refresh,
    onSuccess: () =>
      notifications.show({
        id: `taken-${model}`,
        autoClose: 8_000,
        message: <Group justify="space-between" wrap="nowrap"><Text size="sm">{t("pages.models.taken", { name: model })}</Text><Button size="compact-sm" variant="default" onClick={() => { notifications.hide(`taken-${model}`); undo.mutate(); }}>{t("common.undo")}</Button></Group>,
      }),
    onError: (failed) => notifications.show({ color: "red", message: failed.message }),
  });
  if (!mayTrain) return null;
  return (
    <Tooltip label={t("pages.models.take")}>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label={t("pages.models.takeOf", { name: model })} onClick={() => take.mutate()} loading={take.isPending}><IconX size={18} aria-hidden /></ActionIcon>
    </Tooltip>
  );
}

function Memory({ memory }: { memory: DeviceMemory }) {
  const { t, i18n } = useTranslation();
  const [used, budget] = [bytesText(memory.bytes, i18n.language), bytesText(memory.budget, i18n.language)];
  const says = t("pages.models.memory", { used, budget, device: memory.device });
  const percent = memory.budget ? Math.round((100 * memory.bytes) / memory.budget) : 0;
  return (
    <div>
      <Text size="sm" c="dimmed" className="num" mb={6}>{says}</Text>
      <div className="bar" role="meter" aria-label={says} aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100}><div style={{ width: `${percent}%` }} /></div>
    </div>
  );
}
