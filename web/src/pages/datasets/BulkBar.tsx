import { Button, Group, Modal, Stack, TagsInput, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconTags, IconTrash } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { ErrorState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { CaptionDiff, type CaptionChange } from "./CaptionDiff";
import { useCompletion } from "./CaptionEditor";

const MOST_SHOWN = 50;

interface Props {
  dataset: string;
  paths: string[];
  onDone: () => void;
}

/** What can be done with several images at once. Each is one step that can be undone. */
export function BulkBar({ dataset, paths, onDone }: Props) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [opened, { open, close }] = useDisclosure();
  const place = `/datasets/${encodeURIComponent(dataset)}`;
  const done = () => {
    onDone();
    return Promise.all([client.invalidateQueries({ queryKey: ["datasets"] }), client.invalidateQueries({ queryKey: ["tags", dataset] })]);
  };
  const removeImages = useMutation({ mutationFn: () => post(`${place}/remove`, { paths }), onSuccess: done });
  return (
    <div className="bulk">
      <Group className="card" p="sm" justify="space-between" style={{ boxShadow: "var(--mantine-shadow-md)" }}>
        <Text fw={600} role="status">{t("bulk.chosen", { count: paths.length })}</Text>
        <Group gap="xs">
          <Button size="sm" leftSection={<IconTags size={17} aria-hidden />} onClick={open}>{t("bulk.tags")}</Button>
          <Button size="sm" variant="default" leftSection={<IconTrash size={17} aria-hidden />} onClick={() => removeImages.mutate()} loading={removeImages.isPending}>{t("bulk.remove")}</Button>
          <Button size="sm" variant="subtle" color="gray" onClick={onDone}>{t("bulk.none")}</Button>
        </Group>
      </Group>
      <ErrorState error={removeImages.error} />
      <Modal opened={opened} onClose={close} title={t("bulk.title", { count: paths.length })} closeButtonProps={{ "aria-label": t("common.close") }}>
        <TagForm dataset={dataset} place={place} paths={paths} onDone={() => { close(); void done(); }} />
      </Modal>
    </div>
  );
}

function TagForm({ dataset, place, paths, onDone }: { dataset: string; place: string; paths: string[]; onDone: () => void }) {
  const { t } = useTranslation();
  const [add, setAdd] = useState<string[]>([]);
  const [removed, setRemoved] = useState<string[]>([]);
  const [typed, setTyped] = useState("");
  const body = (preview: boolean) => ({ paths, add, remove: removed, front: true, preview });
  const path = `${place}/captions/tags`;
  const preview = useMutation({ mutationFn: () => post<{ changes: CaptionChange[] }>(path, body(true)) });
  const apply = useMutation({ mutationFn: () => post(path, body(false)), onSuccess: onDone });
  const isEmpty = add.length + removed.length === 0;
  return (
    <Stack>
      <TagsInput label={t("bulk.add")} value={add} onChange={setAdd} searchValue={typed} onSearchChange={setTyped} openOnFocus={false} data={useCompletion(dataset, typed)} splitChars={[","]} data-autofocus clearButtonProps={{ "aria-label": t("common.clear") }} />
      <TagsInput label={t("bulk.removeTags")} value={removed} onChange={setRemoved} splitChars={[","]} clearButtonProps={{ "aria-label": t("common.clear") }} />
      {preview.data && (
        <div>
          <Text size="sm" fw={600} mb={6} role="status">{t("bulk.changes", { count: preview.data.changes.length })}</Text>
          {preview.data.changes.length > 0 && <CaptionDiff changes={preview.data.changes.slice(0, MOST_SHOWN)} total={preview.data.changes.length} />}
        </div>
      )}
      <ErrorState error={preview.error ?? apply.error} />
      <Group justify="flex-end" gap="xs">
        <ShowAsCode compact example={() => ({ method: "POST", path, body: body(false) })} />
        <Button variant="default" disabled={isEmpty} loading={preview.isPending} onClick={() => preview.mutate()}>{t("bulk.preview")}</Button>
        <Button disabled={isEmpty} loading={apply.isPending} onClick={() => apply.mutate()}>{t("bulk.apply")}</Button>
      </Group>
    </Stack>
  );
}
