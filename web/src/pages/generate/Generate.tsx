import { Alert, Button, Group, NumberInput, Select, Stack, Text } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconBrush, IconWand } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../../api/client";
import { modelsQuery, optionsQuery, useScope } from "../../api/queries";
import type { Job, Model, Recalled } from "../../api/types";
import { useActiveJobs } from "./useJobs";
import { bodyOf, changeDraft, recallDraft, useDraft } from "./draft";
import { dataUrl } from "../../components/files";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { generateCommand } from "../../components/code";
import { PageHead } from "../../components/PageHead";
import { PictureCard } from "../../components/PictureCard";
import { PictureViewer } from "../../components/PictureViewer";
import { ShowAsCode } from "../../components/ShowAsCode";
import { useFileDrop } from "../../components/useFileDrop";
import { usePictures } from "../../components/usePictures";
import { AdapterStrengths } from "./AdapterStrengths";
import { LiveJob } from "./LiveJob";
import { MoreSettings } from "./MoreSettings";
import { PromptField } from "./PromptField";
import { PromptHelp } from "./PromptHelp";
import { RegionEditor } from "./RegionEditor";
import { SizeChoice } from "./SizeChoice";
import { StartPicture } from "./StartPicture";
import { usePromptReading } from "./usePromptReading";

export function Generate() {
  const { t } = useTranslation();
  const recall = useRecall();
  const drop = useFileDrop((files) => files[0] && recall.mutate(files[0]));
  return (
    <div className="page-wide" {...drop.handlers}>
      <PageHead title={t("generate.title")} text={t("generate.text")} />
      {drop.over && <Alert mb="md" icon={<IconWand aria-hidden />}>{t("generate.dropToRecall")}</Alert>}
      <ErrorState error={recall.error} />
      <div className="studio">
        <Form />
        <Stage />
      </div>
    </div>
  );
}

/** Read how a dropped picture was made, and put it into the form. */
function useRecall() {
  const { t } = useTranslation();
  return useMutation({
    mutationFn: async (file: File) => post<Recalled>("/recall", { image: await dataUrl(file) }),
    onSuccess: (found) => {
      recallDraft(found.request, found.model);
      notifications.show({ title: t("generate.recalled"), message: found.notes.join("; ") || t("generate.recalledWhole"), autoClose: 9_000 });
    },
  });
}

function useChosenModel(): { models: Model[]; model: Model | undefined } {
  const draft = useDraft();
  const { data: models = [] } = useQuery(modelsQuery);
  return { models, model: models.find((one) => one.name === draft.model) ?? models[0] };
}

function Form() {
  const { t } = useTranslation();
  const draft = useDraft();
  const client = useQueryClient();
  const { models, model } = useChosenModel();
  const { data: options } = useQuery(optionsQuery);
  const mayDraw = useScope("draw");
  const reading = usePromptReading();
  const draw = useMutation({
    mutationFn: () => post<Job>("/jobs", { ...bodyOf(draft, model), preview_every: 2 }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["jobs"] }),
  });
  const start = () => mayDraw && draft.prompt.trim() && draw.mutate();
  useHotkeys([["mod+Enter", start]], []);
  return (
    <form className="card" onSubmit={(event) => { event.preventDefault(); start(); }} aria-label={t("generate.form")}>
      <Stack gap="md">
        {models.length > 1 && (
          <Select label={t("generate.model")} value={model?.name ?? null} onChange={(name) => name && changeDraft({ model: name, strengths: {} })} data={models.map((one) => one.name)} allowDeselect={false} searchable={models.length > 8} />
        )}
        <div>
          <PromptField label={t("generate.prompt")} placeholder={t("generate.promptExample")} minRows={3} value={draft.prompt} parts={reading?.parts ?? []} onChange={(prompt) => changeDraft({ prompt })} />
          <PromptHelp model={model} reading={reading} />
        </div>
        {model && <AdapterStrengths model={model} />}
        {model && <SizeChoice native={model.native_size} />}
        <Group grow align="flex-end">
          <NumberInput label={t("generate.count")} min={1} max={options?.limits.count ?? 16} value={draft.count} onChange={(value) => changeDraft({ count: Number(value) || 1 })} clampBehavior="strict" />
          <Button type="submit" size="md" h={36} leftSection={<IconBrush size={19} aria-hidden />} loading={draw.isPending} disabled={!mayDraw || !draft.prompt.trim()}>{t("generate.draw")}</Button>
        </Group>
        {!mayDraw && <Text size="sm" c="dimmed">{t("generate.mayNot")}</Text>}
        <ErrorState error={draw.error} />
        <StartPicture model={model} />
        <RegionEditor model={model} />
        <MoreSettings model={model} options={options} reading={reading} />
        <Group justify="flex-end">
          <ShowAsCode example={() => ({ command: generateCommand(bodyOf(draft, model)), method: "POST", path: "/jobs", body: bodyOf(draft, model) })} />
        </Group>
      </Stack>
    </form>
  );
}

function Stage() {
  const { t } = useTranslation();
  const active = useActiveJobs();
  const [index, setIndex] = useState<number | null>(null);
  const { pictures, isPending, error, refetch } = usePictures({}, 24);
  const newest = pictures[0];
  const latest = pictures.filter((one) => one.job === newest?.job);
  const rest = pictures.slice(latest.length);
  const open = (id: string) => setIndex(pictures.findIndex((one) => one.id === id));
  return (
    <section className="stage" aria-label={t("generate.results")}>
      <Stack gap="md">
        {active.map((job) => <LiveJob key={job.id} job={job} />)}
        {isPending && <LoadingState what={t("gallery.loading")} />}
        <ErrorState error={error} onRetry={() => void refetch()} />
        {!isPending && !error && pictures.length === 0 && active.length === 0 && (
          <EmptyState icon={IconBrush} title={t("generate.emptyTitle")}>{t("generate.emptyText")}</EmptyState>
        )}
        {latest.length > 0 && (
          <div className="grid" style={{ "--cell": latest.length === 1 ? "100%" : "260px", maxWidth: latest.length === 1 ? 560 : undefined } as React.CSSProperties}>
            {latest.map((one) => <PictureCard key={one.id} picture={one} square={false} onOpen={() => open(one.id)} />)}
          </div>
        )}
        {rest.length > 0 && (
          <>
            <Group justify="space-between" mt="sm">
              <Text fw={600} component="h2" fz="md" m={0}>{t("generate.before")}</Text>
              <Text component={Link} to="/gallery" size="sm" c="var(--mantine-primary-color-filled)">{t("home.allPictures")}</Text>
            </Group>
            <div className="grid" style={{ "--cell": "116px" } as React.CSSProperties}>
              {rest.map((one) => <PictureCard key={one.id} picture={one} onOpen={() => open(one.id)} />)}
            </div>
          </>
        )}
      </Stack>
      <PictureViewer pictures={pictures} index={index} onChange={setIndex} />
    </section>
  );
}
