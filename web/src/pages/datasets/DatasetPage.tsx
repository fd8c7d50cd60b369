import { Button, Collapse, Group, SegmentedControl, Select, Stack, TextInput } from "@mantine/core";
import { useDebouncedValue, useDisclosure } from "@mantine/hooks";
import { IconArrowBackUp, IconPhoto, IconSearch, IconTag } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { auditQuery, datasetQuery, tagsQuery } from "../../api/queries";
import type { DatasetImage } from "../../api/types";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { PageHead } from "../../components/PageHead";
import { PhotoDrop } from "../../components/PhotoDrop";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ProgressLine } from "../../components/TaskProgress";
import { VirtualGrid } from "../../components/VirtualGrid";
import { BulkBar } from "./BulkBar";
import { CaptionEditor } from "./CaptionEditor";
import { Findings } from "./Findings";
import { ImageCell } from "./ImageCell";
import { type ImageFilter, useImages } from "./useImages";
import { useUpload } from "./useUpload";

const Triggers = lazy(() => import("./Triggers").then((found) => ({ default: found.Triggers })));
const Duplicates = lazy(async () => ({ default: (await import("./Duplicates")).Duplicates }));
const Candidates = lazy(async () => ({ default: (await import("./Candidates")).Candidates }));
type View = "images" | "twins" | "drawn";

export function DatasetPage() {
  const { t } = useTranslation();
  const { name } = useParams({ strict: false }) as { name: string };
  const { data: row, error, isPending, refetch } = useQuery(datasetQuery(name));
  const sending = useUpload(name);
  const [view, setView] = useState<View>("images");
  const [isEditing, setEditing] = useState(false);
  if (isPending) return <LoadingState what={t("datasets.loadingOne")} />;
  if (!row) return <div className="page"><PageHead title={name} /><ErrorState error={error} onRetry={() => void refetch()} /></div>;
  return (
    <Stack className="page-wide" gap="md">
      <div style={{ marginBottom: -16 }}><PageHead title={name} text={`${t("datasets.images", { count: row.images })} · ${t("datasets.captioned", { count: row.captioned })}`}>
        <ShowAsCode compact example={() => ({ command: `bakehouse captions stats datasets/${name}`, method: "GET", path: `/datasets/${encodeURIComponent(name)}/images?limit=200` })} />
        {row.undo && <Undo name={name} operation={row.undo.operation} />}
      </PageHead></div>
      <SegmentedControl style={{ alignSelf: "flex-start", maxWidth: "100%" }} size="sm" aria-label={t("canvas.set.views.label")} value={view} onChange={(value) => setView(value as View)} data={(["images", "twins", "drawn"] as const).map((value) => ({ value, label: t(`canvas.set.views.${value}`) }))} />
      <Suspense fallback={<LoadingState what={t("canvas.set.views.loading")} />}>
        {view === "twins" && <Duplicates dataset={name} />}
        {view === "drawn" && <Candidates dataset={name} />}
      </Suspense>
      {view === "images" && <>
      <PhotoDrop onFiles={sending.send} small />
      {sending.progress && <ProgressLine says={t("photos.sending", { done: sending.progress.done, total: sending.progress.total })} percent={Math.round((100 * sending.progress.done) / sending.progress.total)} />}
      <ErrorState error={sending.error} />
      {row.images > 0 && <Findings dataset={name} stamp={row.changed} paused={isEditing} />}
      {row.images > 0 && <TriggersCard name={name} stamp={`${row.changed} ${row.undo?.number ?? 0}`} />}
      <Images name={name} stamp={row.changed} onEditing={setEditing} />
      </>}
    </Stack>
  );
}

function TriggersCard({ name, stamp }: { name: string; stamp: string }) {
  const { t } = useTranslation();
  const [opened, { toggle }] = useDisclosure();
  return (
    <div>
      <Button variant="default" leftSection={<IconTag size={17} aria-hidden />} onClick={toggle} aria-expanded={opened}>{opened ? t("runs.triggers.hide") : t("runs.triggers.show")}</Button>
      <Collapse expanded={opened}>{opened && <div className="card" style={{ marginTop: 12 }}><Suspense fallback={<LoadingState what={t("runs.triggers.loading")} />}><Triggers name={name} stamp={stamp} /></Suspense></div>}</Collapse>
    </div>
  );
}

function Undo({ name, operation }: { name: string; operation: string }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const undo = useMutation({
    mutationFn: () => post(`/datasets/${encodeURIComponent(name)}/undo`, {}),
    onSettled: () => client.invalidateQueries({ queryKey: ["datasets"] }),
  });
  return (
    <>
      <Button variant="default" leftSection={<IconArrowBackUp size={17} aria-hidden />} onClick={() => undo.mutate()} loading={undo.isPending}>{t("datasets.undo", { operation })}</Button>
      <ErrorState error={undo.error} />
    </>
  );
}

const NOTHING: ImageFilter = { q: "", tag: null, caption: null, finding: null };

interface Opened {
  index: number;
  /** Unknown while its page is being fetched. */
  path: string | undefined;
}
const NEAR = 40;

/** Where an opened image is now: images that came or went before it have moved it. */
function indexNear(at: (index: number) => DatasetImage | undefined, { index, path }: Opened, total: number): number {
  if (path === undefined || at(index)?.path === path) return index;
  for (let by = 1; by <= NEAR; by += 1) {
    for (const place of [index - by, index + by]) {
      if (place >= 0 && place < total && at(place)?.path === path) return place;
    }
  }
  return index;
}

function Images({ name, stamp, onEditing }: { name: string; stamp: number; onEditing: (isEditing: boolean) => void }) {
  const { t } = useTranslation();
  const [filter, setFilter] = useState(NOTHING);
  const [q] = useDebouncedValue(filter.q, 300);
  const images = useImages(name, { ...filter, q }, stamp);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [opened, setOpened] = useState<Opened | null>(null);
  const toggle = useCallback((path: string) => setChosen((was) => new Set(was.has(path) ? [...was].filter((one) => one !== path) : [...was, path])), []);
  const { at } = images;
  const open = useCallback((index: number) => setOpened({ index, path: at(index)?.path }), [at]);
  const cellOf = useCallback(
    (i: number) => {
      const image = at(i);
      return <ImageCell dataset={name} image={image} index={i} chosen={image !== undefined && chosen.has(image.path)} onToggle={toggle} onOpen={open} />;
    },
    [at, chosen, name, open, toggle],
  );
  useEffect(() => onEditing(opened !== null), [opened, onEditing]);
  const kept = useRef<DatasetImage>(undefined);
  const index = opened === null ? null : indexNear(at, opened, images.total ?? 0);
  const found = index === null ? undefined : at(index);
  if (found) kept.current = found;
  const current = opened === null ? undefined : (found ?? kept.current); // while its page is fetched, the image before
  const go = (by: number) => index !== null && index + by >= 0 && index + by < (images.total ?? 0) && open(index + by);
  return (
    <section aria-label={t("datasets.allImages")}>
      <Filters name={name} filter={filter} onChange={setFilter} />
      <ErrorState error={images.error} />
      {images.isPending && <LoadingState what={t("datasets.loadingImages")} />}
      {images.total === 0 && <EmptyState icon={IconPhoto} title={t("datasets.nothingTitle")}>{t("datasets.nothingText")}</EmptyState>}
      <VirtualGrid count={images.total ?? 0} cell={176} below={38} label={t("datasets.allImages")}>
        {cellOf}
      </VirtualGrid>
      {chosen.size > 0 && <BulkBar dataset={name} paths={[...chosen]} onDone={() => setChosen(new Set())} />}
      <CaptionEditor dataset={name} image={current} onClose={() => setOpened(null)} onGo={go} />
    </section>
  );
}

function Filters({ name, filter, onChange }: { name: string; filter: ImageFilter; onChange: (filter: ImageFilter) => void }) {
  const { t } = useTranslation();
  const { data: tags = [] } = useQuery(tagsQuery(name));
  const { data: audit } = useQuery({ ...auditQuery(name), retry: false });
  const findings = [...new Map((audit?.report.findings ?? []).map((one) => [one.id, one.title]))];
  const clear = { clearable: true, clearButtonProps: { "aria-label": t("common.clear") } } as const;
  return (
    <Group mb="md" gap="sm">
      <TextInput style={{ flex: "1 1 200px" }} type="search" leftSection={<IconSearch size={17} aria-hidden />} aria-label={t("datasets.search")} placeholder={t("datasets.search")} value={filter.q} onChange={(event) => onChange({ ...filter, q: event.currentTarget.value })} />
      <Select {...clear} style={{ flex: "1 1 130px", maxWidth: 240 }} aria-label={t("datasets.tag")} placeholder={t("datasets.tag")} searchable limit={60} data={tags.map((one) => ({ value: one.tag, label: `${one.tag} (${one.count})` }))} value={filter.tag} onChange={(tag) => onChange({ ...filter, tag })} />
      <Select {...clear} style={{ flex: "1 1 130px", maxWidth: 240 }} aria-label={t("datasets.caption")} placeholder={t("datasets.caption")} data={[{ value: "yes", label: t("datasets.withCaption") }, { value: "no", label: t("datasets.withoutCaption") }]} value={filter.caption} onChange={(caption) => onChange({ ...filter, caption })} />
      {findings.length > 0 && <Select {...clear} style={{ flex: "1 1 130px", maxWidth: 240 }} aria-label={t("datasets.finding")} placeholder={t("datasets.finding")} data={findings.map(([value, label]) => ({ value, label }))} value={filter.finding} onChange={(finding) => onChange({ ...filter, finding })} />}
    </Group>
  );
}
