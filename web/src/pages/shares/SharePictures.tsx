import { Badge, Button, Group, Modal, SegmentedControl, Stack, Text } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { IconPhotoStar } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { put, remove } from "../../api/client";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { type Only, placeOf, type Share, type SharePicture, sharePicturesQuery } from "./shares";

/** What visitors have drawn: the owner hides, keeps and removes. */
export function SharePictures({ share, onClose }: { share: Share; onClose: () => void }) {
  const { t } = useTranslation();
  const [only, setOnly] = useState<Only>(share.reported > 0 ? "reported" : "all");
  const { data = [], isPending, error, refetch } = useQuery(sharePicturesQuery(share.name, only));
  return (
    <Modal opened onClose={onClose} size="xl" title={t("share.picturesOf", { name: share.name })} closeButtonProps={{ "aria-label": t("common.close") }}>
      <SegmentedControl fullWidth mb="md" aria-label={t("share.pictures")} value={only} onChange={(value) => setOnly(value as Only)} data={(["all", "shown", "reported"] as const).map((value) => ({ value, label: t(`share.only.${value}`) }))} />
      {isPending && <LoadingState what={t("gallery.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && data.length === 0 && <EmptyState icon={IconPhotoStar} title={t("share.nonePictures")}>{t("share.nonePicturesText")}</EmptyState>}
      <Stack gap="sm">{data.map((picture) => <Row key={picture.id} share={share} picture={picture} />)}</Stack>
    </Modal>
  );
}

function Row({ share, picture }: { share: Share; picture: SharePicture }) {
  const { t, i18n } = useTranslation();
  const client = useQueryClient();
  const place = `${placeOf(share.name)}/pictures/${picture.id}`;
  const refresh = () => client.invalidateQueries({ queryKey: ["shares"] });
  const hide = useMutation({ mutationFn: (hidden: boolean) => put(`${place}/hidden`, { hidden }), onSettled: refresh });
  const erase = useMutation({ mutationFn: () => remove(place), onSettled: refresh });
  const [asked, setAsked] = useState(false);
  return (
    <Group className="card" p="sm" align="flex-start" wrap="nowrap" gap="md">
      <a href={picture.url} target="_blank" rel="noreferrer" style={{ flex: "0 0 96px" }}>
        <img src={picture.url} alt={picture.prompt} width={96} height={96} loading="lazy" style={{ objectFit: "cover", borderRadius: 10, display: "block", opacity: picture.hidden ? 0.5 : 1 }} />
      </a>
      <Stack gap={6} style={{ minWidth: 0, flex: 1 }}>
        <Text lineClamp={3}>{picture.prompt}</Text>
        <Group gap={6}>
          {picture.shown && !picture.hidden && <Badge variant="light" tt="none">{t("share.inGallery")}</Badge>}
          {picture.hidden && <Badge variant="light" color="gray" tt="none">{picture.hidden === "reports" ? t("share.hiddenByReports") : t("share.hidden")}</Badge>}
          {picture.reports > 0 && <Badge variant="light" color="red" tt="none">{t("share.reports", { count: picture.reports })}</Badge>}
          <Text size="sm" c="dimmed">{new Date(picture.added * 1000).toLocaleString(i18n.language, { dateStyle: "medium", timeStyle: "short" })}</Text>
        </Group>
        {picture.reasons.map((reason, i) => <Text key={i} size="sm">“{reason}”</Text>)}
        <Group gap="xs">
          {picture.hidden || picture.reports > 0 ? <Button size="compact-sm" variant="default" onClick={() => hide.mutate(false)} loading={hide.isPending}>{t("share.keep")}</Button> : null}
          {picture.hidden !== "owner" && <Button size="compact-sm" variant="default" onClick={() => hide.mutate(true)} loading={hide.isPending}>{t("share.hide")}</Button>}
          {asked
            ? <><Button size="compact-sm" color="red" onClick={() => erase.mutate()} loading={erase.isPending}>{t("share.removeForGood")}</Button><Button size="compact-sm" variant="default" onClick={() => setAsked(false)}>{t("tokens.keep")}</Button></>
            : <Button size="compact-sm" variant="default" onClick={() => setAsked(true)}>{t("share.remove")}</Button>}
        </Group>
        <ErrorState error={hide.error ?? erase.error} />
      </Stack>
    </Group>
  );
}
