import { ActionIcon, Alert, Button, Group, Modal, SegmentedControl, SimpleGrid, Stack, TagsInput, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconChevronLeft, IconChevronRight } from "@tabler/icons-react";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import { encodePath, get, put } from "../../api/client";
import { tagsQuery } from "../../api/queries";
import type { DatasetImage } from "../../api/types";
import { SendTo } from "../../components/SendTo";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { thumbnail } from "../newSubject/names";

interface Props {
  dataset: string;
  image: DatasetImage | undefined;
  onClose: () => void;
  onGo: (by: number) => void;
}

/** One image and its caption as tags, completed from the vocabulary. */
export function CaptionEditor({ dataset, image, onClose, onGo }: Props) {
  const { t } = useTranslation();
  return (
    <Modal opened={image !== undefined} onClose={onClose} size="min(980px, 96vw)" title={image?.path} closeButtonProps={{ "aria-label": t("common.close") }}>
      {image && <Tabs key={image.path} dataset={dataset} image={image} onGo={onGo} />}
    </Modal>
  );
}

// Painting is fetched when it is wanted.
const MaskTab = lazy(async () => ({ default: (await import("./MaskTab")).MaskTab }));
const CropTab = lazy(async () => ({ default: (await import("./CropTab")).CropTab }));
let lastTab = "caption";

function Tabs({ dataset, image, onGo }: { dataset: string; image: DatasetImage; onGo: (by: number) => void }) {
  const { t } = useTranslation();
  const [tab, setTab] = useState(lastTab);
  const choose = (value: string) => {
    lastTab = value;
    setTab(value);
  };
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <SegmentedControl size="xs" aria-label={t("canvas.set.tabs.label")} value={tab} onChange={choose} data={(["caption", "mask", "crop"] as const).map((value) => ({ value, label: t(`canvas.set.tabs.${value}`) }))} />
        <Group gap="xs">
          <SendTo url={`/api/v1/datasets/${encodeURIComponent(dataset)}/file/${encodePath(image.path)}`} />
          {tab !== "caption" && (
            <>
              <ActionIcon variant="default" size="lg" onClick={() => onGo(-1)} aria-label={t("captions.before")}><IconChevronLeft size={18} aria-hidden /></ActionIcon>
              <ActionIcon variant="default" size="lg" onClick={() => onGo(1)} aria-label={t("captions.next")}><IconChevronRight size={18} aria-hidden /></ActionIcon>
            </>
          )}
        </Group>
      </Group>
      <Suspense fallback={<LoadingState what={t("canvas.loading")} />}>
        {tab === "caption" && <Editor dataset={dataset} image={image} onGo={onGo} />}
        {tab === "mask" && <MaskTab dataset={dataset} image={image} />}
        {tab === "crop" && <CropTab dataset={dataset} image={image} />}
      </Suspense>
    </Stack>
  );
}

/** Tags as they are edited, and the caption that they were when the editing began. */
interface Draft {
  was: DatasetImage["caption"];
  wasTags: string;
  tags: string[];
}

const draftOf = (image: DatasetImage): Draft => ({ was: image.caption, wasTags: image.tags.join(", "), tags: image.tags });
const isEdited = (draft: Draft) => draft.tags.join(", ") !== draft.wasTags;

function Editor({ dataset, image, onGo }: { dataset: string; image: DatasetImage; onGo: (by: number) => void }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [kept, setDraft] = useState(() => draftOf(image));
  const [typed, setTyped] = useState("");
  // A caption that was changed elsewhere while nothing was edited here is simply shown.
  const isOld = kept.was !== image.caption && !isEdited(kept);
  const draft = isOld ? draftOf(image) : kept;
  if (isOld) setDraft(draft);
  const isChanged = isEdited(draft);
  const path = `/datasets/${encodeURIComponent(dataset)}/captions`;
  const body = { captions: { [image.path]: draft.tags.join(", ") }, was: { [image.path]: image.caption } };
  const save = useMutation({
    mutationFn: () => put(path, body),
    onSuccess: async () => {
      await Promise.all([client.invalidateQueries({ queryKey: ["datasets"] }), client.invalidateQueries({ queryKey: ["tags", dataset] })]);
      setDraft({ ...draft, wasTags: draft.tags.join(", ") });
    },
    // It may have been changed elsewhere: what it is now is shown beside what was edited.
    onError: () => client.invalidateQueries({ queryKey: ["datasets"] }),
  });
  const isChangedElsewhere = draft.was !== image.caption && !save.isPending;
  const go = async (by: number) => {
    if (isChanged) await save.mutateAsync();
    onGo(by);
  };
  return (
    <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg">
      <div className="picture" style={{ aspectRatio: `${image.width} / ${image.height}`, maxHeight: "64dvh" }}><img src={thumbnail(dataset, image.path, 1024)} alt={image.caption ?? image.path} style={{ objectFit: "contain" }} /></div>
      <Stack gap="md">
        <TagsInput label={t("captions.tags")} description={t("captions.tagsText")} value={draft.tags} onChange={(tags) => setDraft({ ...draft, tags })} searchValue={typed} onSearchChange={setTyped} openOnFocus={false} data={useCompletion(dataset, typed)} splitChars={[","]} maxDropdownHeight={240} data-autofocus clearButtonProps={{ "aria-label": t("common.clear") }} />
        <Text size="sm" c="dimmed" className="num">{image.width} × {image.height}</Text>
        {isChangedElsewhere ? (
          <Alert color="yellow" role="status" title={t("captions.elsewhere")}>
            <Text size="sm" mb="xs">{image.caption || t("datasets.noCaption")}</Text>
            <Button size="xs" variant="default" onClick={() => { save.reset(); setDraft(draftOf(image)); }}>{t("captions.takeIt")}</Button>
          </Alert>
        ) : <ErrorState error={save.error} />}
        <Group justify="space-between">
          <Group gap="xs">
            <ActionIcon variant="default" size="lg" onClick={() => void go(-1)} aria-label={t("captions.before")}><IconChevronLeft size={18} aria-hidden /></ActionIcon>
            <ActionIcon variant="default" size="lg" onClick={() => void go(1)} aria-label={t("captions.next")}><IconChevronRight size={18} aria-hidden /></ActionIcon>
            <ShowAsCode compact example={() => ({ method: "PUT", path, body })} />
          </Group>
          <Button onClick={() => save.mutate()} loading={save.isPending} disabled={!isChanged}>{isChangedElsewhere ? t("captions.replace") : isChanged ? t("captions.save") : t("captions.saved")}</Button>
        </Group>
      </Stack>
    </SimpleGrid>
  );
}

/** Tags that have what is typed: the dataset's own, then those that the base knows. */
export function useCompletion(dataset: string, typed: string): string[] {
  const [asked] = useDebouncedValue(typed.trim().toLowerCase(), 150);
  const { data: own = [] } = useQuery(tagsQuery(dataset));
  const { data: known = [] } = useQuery({
    queryKey: ["completion", asked],
    queryFn: async () => (await get<{ tags: { tag: string }[] }>("/tags", { q: asked, limit: 20 })).tags.map((one) => one.tag),
    enabled: asked.length > 0,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });
  if (!asked) return own.slice(0, 20).map((one) => one.tag);
  return [...new Set([...own.map((one) => one.tag).filter((tag) => tag.toLowerCase().includes(asked)), ...known])];
}
