import { Alert, Anchor, Button, Group, Stack } from "@mantine/core";
import { IconArrowLeft, IconEye } from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { publishingQuery, type PublicationPreview, type Published } from "../../api/pages";
import { runQuery } from "../../api/queries";
import { useTask } from "../../api/tasks";
import type { Run } from "../../api/types";
import { CancelableTask } from "../../components/CancelableTask";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState, LoadingState } from "../../components/States";
import { bodyOf, destinationOf, type Draft, emptyDraft, exampleOf } from "./asked";
import { Before } from "./Before";
import { Preview } from "./Preview";
import { PublishForm } from "./PublishForm";
import { Result } from "./Result";

export function Publish() {
  const { t } = useTranslation();
  const { name } = useParams({ strict: false }) as { name: string };
  const { data: run, isPending, error, refetch } = useQuery(runQuery(name));
  return (
    <div className="page" style={{ maxWidth: 860 }}>
      <Anchor component={Link} to={`/trainings/${encodeURIComponent(name)}`} size="sm" c="dimmed"><Group gap={5} mb={6}><IconArrowLeft size={15} aria-hidden />{name}</Group></Anchor>
      <PageHead title={t("pages.publish.title", { name })} text={t("pages.publish.text")} />
      {isPending && <LoadingState what={t("run.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {run && run.weights.length === 0 && <Alert color="orange">{t("pages.publish.noWeights")}</Alert>}
      {run && run.weights.length > 0 && <Steps run={run} />}
    </div>
  );
}

/** The form, what it comes to, and the result: each below the one before. */
function Steps({ run }: { run: Run }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const place = `/runs/${encodeURIComponent(run.name)}/publish`;
  const [draft, setDraft] = useState<Draft>(() => emptyDraft(run.name));
  const [shown, setShown] = useState<{ preview: PublicationPreview; of: Draft } | null>(null);
  const [result, setResult] = useState<Published | null>(null);
  const { data: publishing } = useQuery(publishingQuery);
  const before = () => client.invalidateQueries({ queryKey: ["tasks", "publish", run.name] });
  const looking = useTask(run.name, "publish-preview");
  const publishing_ = useTask(run.name, "publish", before);
  const end = useRef<HTMLDivElement>(null);
  const change = (values: Partial<Draft>) => setDraft((was) => ({ ...was, ...values }));
  const isBusy = looking.task !== null || publishing_.task !== null;
  const lacksToken = draft.place === "hub" && publishing?.hub_token === "";
  const isWhole = destinationOf(draft) !== "" && draft.person !== null && !lacksToken;
  const scroll = () => setTimeout(() => end.current?.scrollIntoView({ behavior: "smooth", block: "start" }), 60);

  const look = async () => {
    setShown(null);
    setResult(null);
    const preview = await looking.start<PublicationPreview>(place, bodyOf(draft, { preview: true }));
    if (preview) setShown({ preview, of: draft });
    scroll();
  };
  const publish = async (accept: string[]) => {
    const done = await publishing_.start<Published>(place, bodyOf(draft, { accept }));
    if (done) {
      setResult(done);
      setShown(null);
      void client.invalidateQueries({ queryKey: ["published"] });
    }
    await before();
    scroll();
  };
  return (
    <Stack gap="xl">
      <Before run={run.name} />
      <PublishForm run={run} draft={draft} publishing={publishing} onChange={change} isBusy={isBusy} />
      <Group justify="flex-end" gap="xs">
        <ShowAsCode example={() => exampleOf(run.name, bodyOf(draft, { preview: true }))} />
        <Button size="md" variant={shown ? "default" : "filled"} leftSection={<IconEye size={19} aria-hidden />} disabled={!isWhole || isBusy} loading={looking.task !== null} onClick={() => void look()}>{t("pages.publish.look")}</Button>
      </Group>
      <div ref={end} style={{ scrollMarginTop: 20 }}>
        <CancelableTask task={looking.task} what={t("pages.publish.looking")} />
        <CancelableTask task={publishing_.task} what={t("pages.publish.publishing")} />
        <ErrorState error={looking.error ?? publishing_.error} />
        {shown && !publishing_.task && <Preview run={run.name} preview={shown.preview} draft={draft} isOld={shown.of !== draft} onPublish={(accept) => void publish(accept)} />}
        {result && <Result result={result} folder={draft.place === "folder" ? draft.folder.trim() : null} />}
      </div>
    </Stack>
  );
}
