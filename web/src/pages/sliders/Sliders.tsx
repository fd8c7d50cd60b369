import { Button, Group, Stack, Text } from "@mantine/core";
import { IconAdjustmentsHorizontal, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { runsQuery } from "../../api/queries";
import type { Run } from "../../api/types";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { RunState, useRunLine } from "../trainings/RunRow";

export function Sliders() {
  const { t } = useTranslation();
  const { data: runs = [], isPending, error, refetch } = useQuery(runsQuery);
  const sliders = runs.filter((run) => run.kind === "slider");
  const add = <Button component={Link} to="/sliders/-/new" leftSection={<IconPlus size={17} aria-hidden />}>{t("pages.sliders.new")}</Button>;
  return (
    <div className="page">
      <PageHead title={t("pages.sliders.title")} text={t("pages.sliders.text")}>
        <ShowAsCode compact example={() => ({ command: "bakehouse queue list", method: "GET", path: "/runs" })} />
        {sliders.length > 0 && add}
      </PageHead>
      {isPending && <LoadingState what={t("pages.sliders.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && sliders.length === 0 && <EmptyState icon={IconAdjustmentsHorizontal} title={t("pages.sliders.emptyTitle")}>{t("pages.sliders.emptyText")}<div style={{ marginTop: 18 }}>{add}</div></EmptyState>}
      <Stack gap="xs">{sliders.map((run) => <Row key={run.name} run={run} />)}</Stack>
    </div>
  );
}

function Row({ run }: { run: Run }) {
  const line = useRunLine();
  return (
    <Link to="/sliders/$name" params={{ name: run.name }} className="card card-link focusable" style={{ padding: "14px 18px" }}>
      <Group justify="space-between" wrap="nowrap"><Text fw={600} truncate>{run.name}</Text><RunState run={run} /></Group>
      <Text size="sm" c="dimmed" className="num">{line(run)}</Text>
    </Link>
  );
}
