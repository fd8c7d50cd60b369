import { useInfiniteQuery, useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { notifications } from "@mantine/notifications";
import { Button, Group, Text } from "@mantine/core";
import { useCallback } from "react";
import { useTranslation } from "react-i18next";
import { get, remove } from "../api/client";
import type { Picture } from "../api/types";

export interface PictureSearch {
  q?: string;
  model?: string;
  starred?: boolean;
}
const PAGE = 60;
const UNDO_MS = 7_000;

type Pages = InfiniteData<Picture[], number | null>;

export function usePictures(search: PictureSearch = {}, limit = PAGE) {
  const found = useInfiniteQuery({
    queryKey: ["pictures", search, limit],
    queryFn: async ({ pageParam }) =>
      (await get<{ pictures: Picture[] }>("/pictures", { ...search, limit, before: pageParam })).pictures,
    initialPageParam: null as number | null,
    getNextPageParam: (last) => (last.length < limit ? undefined : last.at(-1)?.made),
  });
  return { ...found, pictures: found.data?.pages.flat() ?? [] };
}

/** Delete a picture after a few seconds in which it can be brought back. */
export function useDeletePicture(): (picture: Picture) => void {
  const client = useQueryClient();
  const { t } = useTranslation();
  return useCallback(
    (picture: Picture) => {
      const hide = () =>
        client.setQueriesData<Pages>({ queryKey: ["pictures"] }, (data) =>
          data && { ...data, pages: data.pages.map((page) => page.filter((one) => one.id !== picture.id)) },
        );
      const refresh = () => client.invalidateQueries({ queryKey: ["pictures"] });
      void client.cancelQueries({ queryKey: ["pictures"] }).then(hide);
      const timer = setTimeout(() => void remove(`/pictures/${picture.id}`).finally(refresh), UNDO_MS);
      const undo = () => {
        clearTimeout(timer);
        notifications.hide(picture.id);
        void refresh();
      };
      notifications.show({
        id: picture.id,
        autoClose: UNDO_MS - 300,
        withCloseButton: false,
        message: <Group justify="space-between"><Text size="sm">{t("picture.deleted")}</Text><Button size="compact-sm" variant="default" onClick={undo}>{t("common.undo")}</Button></Group>,
      });
    },
    [client, t],
  );
}
