import { Alert, Button, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { get } from "../../api/client";
import { datasetQuery } from "../../api/queries";
import type { DatasetImage } from "../../api/types";
import { ErrorState } from "../../components/States";
import { PhotoDrop } from "../../components/PhotoDrop";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ProgressLine } from "../../components/TaskProgress";
import { Findings } from "../datasets/Findings";
import { thumbnail } from "./names";
import { useUpload } from "../datasets/useUpload";
import type { Uploaded } from "./upload";

interface Props {
  dataset: string | null;
  onDataset: (name: string) => void;
  onNext: () => void;
  onOther: () => void;
}

const SHOWN = 32;

export function PhotosStep({ dataset, onDataset, onNext, onOther }: Props) {
  const { t } = useTranslation();
  const sending = useUpload(dataset, onDataset);
  const { data: row } = useQuery({ ...datasetQuery(dataset ?? ""), enabled: dataset !== null });
  const has = (row?.images ?? 0) > 0;
  return (
    <Stack gap="lg">
      <PhotoDrop onFiles={sending.send} small={has} />
      {sending.progress && <ProgressLine says={t("photos.sending", { done: sending.progress.done, total: sending.progress.total })} percent={Math.round((100 * sending.progress.done) / sending.progress.total)} />}
      <ErrorState error={sending.error} />
      <Refused refused={sending.refused} />
      {dataset && has && (
        <>
          <div className="card">
            <Group justify="space-between" mb="sm">
              <Text fw={600}>{t("photos.count", { count: row?.images ?? 0 })}</Text>
              <Group gap="xs">
                <Text component={Link} {...({ to: "/datasets/$name", params: { name: dataset } } as object)} size="sm" c="var(--mantine-primary-color-filled)">{t("photos.all")}</Text>
                <Button size="compact-sm" variant="subtle" color="gray" onClick={onOther}>{t("photos.other")}</Button>
              </Group>
            </Group>
            <Thumbnails dataset={dataset} stamp={row?.changed ?? 0} />
          </div>
          {!sending.progress && <Findings dataset={dataset} stamp={row?.changed ?? 0} />}
          <Group justify="space-between">
            <ShowAsCode example={() => ({ method: "POST", path: `/datasets/${dataset}/images`, files: ["01.jpg", "02.jpg"] })} />
            <Button size="md" onClick={onNext} disabled={sending.progress !== null}>{t("new.next")}</Button>
          </Group>
        </>
      )}
    </Stack>
  );
}

function Refused({ refused }: { refused: Uploaded["refused"] }) {
  const { t } = useTranslation();
  if (refused.length === 0) return null;
  return (
    <Alert title={t("photos.refused", { count: refused.length })}>
      {refused.slice(0, 6).map((one) => <Text key={one.name} size="sm"><b>{one.name}</b>: {one.why}</Text>)}
      {refused.length > 6 && <Text size="sm">{t("common.andMore", { count: refused.length - 6 })}</Text>}
    </Alert>
  );
}

function Thumbnails({ dataset, stamp }: { dataset: string; stamp: number }) {
  const { t } = useTranslation();
  const { data } = useQuery({
    queryKey: ["datasets", dataset, "thumbs", stamp],
    queryFn: () => get<{ total: number; images: DatasetImage[] }>(`/datasets/${encodeURIComponent(dataset)}/images`, { limit: SHOWN }),
  });
  return (
    <div className="thumbs">
      {data?.images.map((image) => <div key={image.path} className="thumb"><img src={thumbnail(dataset, image.path)} alt={image.path} loading="lazy" /></div>)}
      {data && data.total > data.images.length && <div className="thumb" style={{ display: "grid", placeItems: "center" }}><Text size="sm" c="dimmed">{t("common.andMore", { count: data.total - data.images.length })}</Text></div>}
    </div>
  );
}
