import { Button, Group, SimpleGrid, Text } from "@mantine/core";
import { IconPhoto, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { datasetsQuery } from "../../api/queries";
import type { Dataset } from "../../api/types";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { bytesText } from "../../components/files";
import { thumbnail } from "../newSubject/names";

export function Datasets() {
  const { t } = useTranslation();
  const { data = [], isPending, error, refetch } = useQuery(datasetsQuery);
  return (
    <div className="page">
      <PageHead title={t("datasets.title")} text={t("datasets.text")}>
        <ShowAsCode compact example={() => ({ method: "GET", path: "/datasets" })} />
        <Button component={Link} to="/new" leftSection={<IconPlus size={17} aria-hidden />}>{t("nav.new")}</Button>
      </PageHead>
      {isPending && <LoadingState what={t("datasets.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && data.length === 0 && <EmptyState icon={IconPhoto} title={t("datasets.emptyTitle")}>{t("datasets.emptyText")}</EmptyState>}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }} spacing="md">{data.map((one) => <Card key={one.name} dataset={one} />)}</SimpleGrid>
    </div>
  );
}

function Card({ dataset }: { dataset: Dataset }) {
  const { t, i18n } = useTranslation();
  return (
    <Link to="/datasets/$name" params={{ name: dataset.name }} className="card card-link focusable" style={{ padding: 12 }}>
      <div className="picture" style={{ aspectRatio: "16 / 10", display: "grid", placeItems: "center" }}>
        {dataset.cover ? <img src={thumbnail(dataset.name, dataset.cover, 512)} alt="" loading="lazy" /> : <IconPhoto size={34} stroke={1.3} color="var(--mantine-color-dimmed)" aria-hidden />}
      </div>
      <Group justify="space-between" wrap="nowrap" mt="sm"><Text fw={600} truncate>{dataset.name}</Text></Group>
      <Text size="sm" c="dimmed">{t("datasets.images", { count: dataset.images })} · {t("datasets.captioned", { count: dataset.captioned })} · {bytesText(dataset.bytes, i18n.language)}</Text>
    </Link>
  );
}
