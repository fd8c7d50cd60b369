import { Badge, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { IconArrowRight, IconBrush, IconPhotoStar, IconSparkles } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { modelsQuery, runsQuery, useScope } from "../api/queries";
import type { Model } from "../api/types";
import { EmptyState, ErrorState, LoadingState } from "../components/States";
import { PictureCard } from "../components/PictureCard";
import { PictureViewer } from "../components/PictureViewer";
import { usePictures } from "../components/usePictures";
import { changeDraft } from "./generate/draft";
import { LiveJob } from "./generate/LiveJob";
import { useActiveJobs } from "./generate/useJobs";
import { RunRow } from "./trainings/RunRow";

export function Home() {
  const { t } = useTranslation();
  const mayTrain = useScope("train");
  useEffect(() => {
    document.title = "bakehouse";
  }, []);
  return (
    <Stack className="page" gap={38}>
      <div>
        <Title order={1} mb="lg">{t("home.title")}</Title>
        <SimpleGrid cols={{ base: 1, sm: mayTrain ? 2 : 1 }} spacing="md">
          {mayTrain && <Way to="/new" icon={<IconSparkles size={26} stroke={1.5} aria-hidden />} title={t("home.newTitle")} text={t("home.newText")} strong />}
          <Way to="/generate" icon={<IconBrush size={26} stroke={1.5} aria-hidden />} title={t("home.drawTitle")} text={t("home.drawText")} strong={!mayTrain} />
        </SimpleGrid>
      </div>
      <Running />
      <Subjects />
      <LastPictures />
    </Stack>
  );
}

function Way({ to, icon, title, text, strong }: { to: string; icon: ReactNode; title: string; text: string; strong: boolean }) {
  const colors = strong ? { background: "var(--mantine-primary-color-filled)", color: "var(--mantine-primary-color-contrast)", borderColor: "transparent" } : {};
  return (
    <Link to={to} className="card card-link focusable" style={{ padding: "26px 24px", ...colors }}>
      {icon}
      <Group justify="space-between" wrap="nowrap" mt={14}>
        <Text fw={650} fz={19} component="h2" m={0}>{title}</Text>
        <IconArrowRight size={20} aria-hidden />
      </Group>
      <Text mt={4} c={strong ? "inherit" : "dimmed"}>{text}</Text>
    </Link>
  );
}

function Section({ title, link, children }: { title: string; link?: ReactNode; children: ReactNode }) {
  return (
    <section>
      <Group justify="space-between" mb="sm"><Title order={2} fz={18}>{title}</Title>{link}</Group>
      {children}
    </section>
  );
}

function Running() {
  const { t } = useTranslation();
  const jobs = useActiveJobs();
  const { data: runs = [] } = useQuery(runsQuery);
  const active = runs.filter((run) => ["waiting", "running", "stopping"].includes(run.state));
  if (jobs.length === 0 && active.length === 0) return null;
  return (
    <Section title={t("home.running")}>
      <Stack gap="sm">
        {active.map((run) => <RunRow key={run.name} run={run} />)}
        {jobs.slice(0, 3).map((job) => <LiveJob key={job.id} job={job} />)}
        {jobs.length > 3 && <Text size="sm" c="dimmed">{t("common.andMore", { count: jobs.length - 3 })}</Text>}
      </Stack>
    </Section>
  );
}

function Subjects() {
  const { t } = useTranslation();
  const { data: models = [], isPending, error, refetch } = useQuery(modelsQuery);
  return (
    <Section title={t("home.models")}>
      {isPending && <LoadingState what={t("home.loadingModels")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }} spacing="sm">
        {models.map((model) => <Subject key={model.name} model={model} />)}
      </SimpleGrid>
    </Section>
  );
}

function Subject({ model }: { model: Model }) {
  const { t } = useTranslation();
  const { pictures } = usePictures({ model: model.name }, 1);
  const newest = pictures[0];
  return (
    <Link to="/generate" className="card card-link focusable" style={{ padding: 12 }} onClick={() => changeDraft({ model: model.name, strengths: {} })}>
      <Group wrap="nowrap">
        <div className="picture" style={{ width: 64, height: 64, flexShrink: 0, display: "grid", placeItems: "center", borderRadius: 10 }}>
          {newest ? <img src={newest.url} alt="" loading="lazy" /> : <IconPhotoStar size={24} stroke={1.4} color="var(--mantine-color-dimmed)" aria-hidden />}
        </div>
        <div style={{ minWidth: 0 }}>
          <Text fw={600} truncate>{model.name}</Text>
          <Group gap={6} mt={2}>
            {model.triggers.slice(0, 2).map((word) => <Badge key={word} variant="light" tt="none" fw={500}>{word}</Badge>)}
            {model.triggers.length === 0 && <Text size="sm" c="dimmed">{model.native_size} × {model.native_size}</Text>}
          </Group>
        </div>
        <Text className="sr-only">{t("home.drawWith")}</Text>
      </Group>
    </Link>
  );
}

function LastPictures() {
  const { t } = useTranslation();
  const { pictures, isPending, error, refetch } = usePictures({}, 12);
  const [index, setIndex] = useState<number | null>(null);
  return (
    <Section title={t("home.pictures")} link={pictures.length > 0 && <Text component={Link} to="/gallery" size="sm" c="var(--mantine-primary-color-filled)">{t("home.allPictures")}</Text>}>
      {isPending && <LoadingState what={t("gallery.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && pictures.length === 0 && <EmptyState icon={IconPhotoStar} title={t("gallery.emptyTitle")}>{t("gallery.emptyText")}</EmptyState>}
      <div className="grid">{pictures.map((one, i) => <PictureCard key={one.id} picture={one} onOpen={() => setIndex(i)} />)}</div>
      <PictureViewer pictures={pictures} index={index} onChange={setIndex} />
    </Section>
  );
}
