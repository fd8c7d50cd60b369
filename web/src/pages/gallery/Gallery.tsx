import { Button, Group, Select, Switch, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconArrowsLeftRight, IconPhotoStar, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { modelsQuery } from "../../api/queries";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { PageHead } from "../../components/PageHead";
import { PictureViewer } from "../../components/PictureViewer";
import { ShowAsCode } from "../../components/ShowAsCode";
import { VirtualGrid } from "../../components/VirtualGrid";
import { PictureCard } from "../../components/PictureCard";
import { usePictures } from "../../components/usePictures";
import { Compare } from "./Compare";

export function Gallery() {
  const { t } = useTranslation();
  const [q, setQ] = useState("");
  const [words] = useDebouncedValue(q, 300);
  const [model, setModel] = useState<string | null>(null);
  const [starred, setStarred] = useState(false);
  const [index, setIndex] = useState<number | null>(null);
  const [compared, setCompared] = useState<string[] | null>(null);
  const search = { q: words, ...(model ? { model } : {}), starred };
  const found = usePictures(search);
  const { data: models = [] } = useQuery(modelsQuery);
  const { pictures } = found;
  const isFiltered = words !== "" || model !== null || starred;
  const chosen = (compared ?? []).flatMap((id) => pictures.find((one) => one.id === id) ?? []);

  const open = (i: number) => {
    const picture = pictures[i];
    if (!picture) return;
    if (compared === null) setIndex(i);
    else setCompared(compared.includes(picture.id) ? compared.filter((id) => id !== picture.id) : [...compared, picture.id].slice(-2));
  };
  return (
    <div className="page-wide">
      <PageHead title={t("gallery.title")} text={t("gallery.text")}>
        <ShowAsCode compact example={() => ({ method: "GET", path: `/pictures?limit=60${words ? `&q=${encodeURIComponent(words)}` : ""}${starred ? "&starred=true" : ""}` })} />
      </PageHead>
      <Group mb="md" gap="sm">
        <TextInput style={{ flex: "1 1 220px" }} leftSection={<IconSearch size={17} aria-hidden />} placeholder={t("gallery.search")} aria-label={t("gallery.search")} value={q} onChange={(event) => setQ(event.currentTarget.value)} type="search" />
        {models.length > 1 && <Select w={190} placeholder={t("gallery.anyModel")} aria-label={t("generate.model")} data={models.map((one) => one.name)} value={model} onChange={setModel} clearable clearButtonProps={{ "aria-label": t("common.clear") }} />}
        <Switch label={t("gallery.starred")} checked={starred} onChange={(event) => setStarred(event.currentTarget.checked)} />
        {pictures.length > 1 && (
          <Button variant={compared ? "filled" : "default"} leftSection={<IconArrowsLeftRight size={17} aria-hidden />} onClick={() => setCompared(compared ? null : [])}>
            {compared ? t("gallery.compareEnd") : t("gallery.compare")}
          </Button>
        )}
      </Group>
      {compared && <Compare pictures={chosen} />}
      {found.isPending && <LoadingState what={t("gallery.loading")} />}
      <ErrorState error={found.error} onRetry={() => void found.refetch()} />
      {!found.isPending && !found.error && pictures.length === 0 && (
        <EmptyState icon={IconPhotoStar} title={isFiltered ? t("gallery.nothingTitle") : t("gallery.emptyTitle")}>
          {isFiltered ? t("gallery.nothingText") : t("gallery.emptyText")}
        </EmptyState>
      )}
      <VirtualGrid
        count={pictures.length} cell={170} label={t("gallery.title")}
        onEnd={() => found.hasNextPage && !found.isFetchingNextPage && void found.fetchNextPage()}
      >
        {(i) => {
          const picture = pictures[i];
          if (!picture) return null;
          const at = compared?.indexOf(picture.id) ?? -1;
          return (
            <div style={at >= 0 ? { outline: "3px solid var(--mantine-primary-color-filled)", borderRadius: 12 } : undefined}>
              <PictureCard picture={picture} onOpen={() => open(i)} />
            </div>
          );
        }}
      </VirtualGrid>
      <PictureViewer pictures={pictures} index={index} onChange={setIndex} />
    </div>
  );
}
