import { Alert, Anchor, Badge, Button, CopyButton, Group, Modal, Stack, Text, Title } from "@mantine/core";
import { IconCheck, IconCode, IconCopy, IconExternalLink, IconPlus, IconShare2 } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { remove } from "../../api/client";
import { useScope } from "../../api/queries";
import { quoted } from "../../components/code";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { EmptyState, ErrorState, LoadingState } from "../../components/States";
import { ShareForm } from "./ShareForm";
import { SharePictures } from "./SharePictures";
import { embedCode, linkOf, placeOf, type Share, sharesQuery } from "./shares";

export function Shares() {
  const { t } = useTranslation();
  const isAdmin = useScope("admin");
  const { data = [], isPending, error, refetch } = useQuery({ ...sharesQuery, enabled: isAdmin });
  const { model } = useSearch({ strict: false }) as { model?: string };
  const navigate = useNavigate();
  const [adding, setAdding] = useState(model !== undefined);
  const close = () => {
    setAdding(false);
    if (model !== undefined) void navigate({ to: "/shares", replace: true });
  };
  const valid = data.filter((one) => one.revoked === null);
  const revoked = data.filter((one) => one.revoked !== null);
  return (
    <Stack className="page" gap={28}>
      <PageHead title={t("share.page")} text={t("share.text")}>
        <ShowAsCode compact example={() => ({ command: "bakehouse share list", method: "GET", path: "/shares" })} />
        {isAdmin && <Button leftSection={<IconPlus size={17} aria-hidden />} onClick={() => setAdding(true)}>{t("share.add")}</Button>}
      </PageHead>
      {!isAdmin && <Alert color="gray">{t("share.onlyAdmins")}</Alert>}
      {isAdmin && isPending && <LoadingState what={t("share.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {isAdmin && !isPending && !error && valid.length === 0 && <EmptyState icon={IconShare2} title={t("share.emptyTitle")}>{t("share.emptyText")}</EmptyState>}
      <Stack gap="md">{valid.map((share) => <ShareCard key={share.name} share={share} />)}</Stack>
      {revoked.length > 0 && (
        <section>
          <Title order={2} fz={18} mb="sm">{t("share.revokedTitle")}</Title>
          <Stack gap="xs">{revoked.map((share) => <ShareCard key={share.name} share={share} />)}</Stack>
        </section>
      )}
      {adding && <ShareForm share={null} model={model ?? null} onClose={close} />}
    </Stack>
  );
}

function ShareCard({ share }: { share: Share }) {
  const { t, i18n } = useTranslation();
  const [shown, setShown] = useState<"" | "change" | "pictures" | "embed">("");
  const isOver = share.revoked !== null || share.expired;
  const number = (value: number) => value.toLocaleString(i18n.language);
  const of = (used: number, limit: number | null) => (limit === null ? number(used) : t("share.of", { used: number(used), limit: number(limit) }));
  return (
    <Stack className="card" gap="sm">
      <Group justify="space-between" align="flex-start" gap="xs">
        <div style={{ minWidth: 0 }}>
          <Group gap={8}>
            <Text fw={600}>{share.title || share.name}</Text>
            {share.title && share.title !== share.name && <Text size="sm" c="dimmed">{share.name}</Text>}
            <Badge variant="light" tt="none">{share.model}</Badge>
            {share.expired && <Badge variant="light" color="gray" tt="none">{t("share.expired")}</Badge>}
            {!isOver && !share.served && <Badge variant="light" color="red" tt="none">{t("share.away")}</Badge>}
            {share.reported > 0 && <Badge variant="light" color="red" tt="none">{t("share.reported", { count: share.reported })}</Badge>}
          </Group>
          <Text size="sm" c="dimmed" className="num">
            {t("share.today", { figure: of(share.drawn.day, share.day) })} · {t("share.thisMonth", { figure: of(share.drawn.month, share.month) })}
            {share.expires !== null && !share.expired && ` · ${t("share.visit.until", { date: new Date(share.expires * 1000).toLocaleDateString(i18n.language, { dateStyle: "medium" }) })}`}
          </Text>
        </div>
        {share.revoked !== null && <Text size="sm" c="dimmed">{t("tokens.revoked")}</Text>}
      </Group>
      {!isOver && <Link share={share} />}
      <Group gap="xs">
        <Button size="compact-sm" variant="default" onClick={() => setShown("pictures")}>{t("share.pictures")}</Button>
        {share.revoked === null && <Button size="compact-sm" variant="default" onClick={() => setShown("change")}>{t("share.changeButton")}</Button>}
        {!isOver && <Button size="compact-sm" variant="default" leftSection={<IconCode size={15} aria-hidden />} onClick={() => setShown("embed")}>{t("share.embedButton")}</Button>}
        {share.revoked === null && <Revoke share={share} />}
      </Group>
      {shown === "pictures" && <SharePictures share={share} onClose={() => setShown("")} />}
      {shown === "change" && <ShareForm share={share} model={share.model} onClose={() => setShown("")} />}
      {shown === "embed" && <Embed share={share} onClose={() => setShown("")} />}
    </Stack>
  );
}

function Link({ share }: { share: Share }) {
  const { t } = useTranslation();
  const link = linkOf(share);
  return (
    <Group gap="xs">
      <Anchor href={link} target="_blank" rel="noreferrer" className="num" style={{ overflowWrap: "anywhere", minWidth: 0, flex: "1 1 240px" }}>{link}</Anchor>
      <CopyButton value={link}>{({ copied, copy }) => <Button size="compact-sm" onClick={copy} leftSection={copied ? <IconCheck size={15} aria-hidden /> : <IconCopy size={15} aria-hidden />}>{copied ? t("code.copied") : t("share.copyLink")}</Button>}</CopyButton>
      <Button size="compact-sm" variant="default" component="a" href={link} target="_blank" rel="noreferrer" leftSection={<IconExternalLink size={15} aria-hidden />}>{t("share.open")}</Button>
    </Group>
  );
}

function Embed({ share, onClose }: { share: Share; onClose: () => void }) {
  const { t } = useTranslation();
  const code = embedCode(share);
  return (
    <Modal opened onClose={onClose} size="lg" title={t("share.embedTitle")} closeButtonProps={{ "aria-label": t("common.close") }}>
      <Stack>
        {share.embed.length === 0
          ? <Alert color="gray">{t("share.embedNone")}</Alert>
          : <Text>{share.embed.includes("*") ? t("share.embedEverywhere") : t("share.embedOn", { sites: share.embed.join(", ") })}</Text>}
        <pre className="code" tabIndex={0}>{code}</pre>
        <Group justify="space-between">
          <CopyButton value={code}>{({ copied, copy }) => <Button variant="default" onClick={copy} leftSection={copied ? <IconCheck size={16} aria-hidden /> : <IconCopy size={16} aria-hidden />}>{copied ? t("code.copied") : t("code.copy")}</Button>}</CopyButton>
          <ShowAsCode compact example={() => ({ command: `bakehouse share embed ${quoted(share.name)} --url ${location.origin}`, method: "GET", path: placeOf(share.name) })} />
        </Group>
      </Stack>
    </Modal>
  );
}

function Revoke({ share }: { share: Share }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [asked, setAsked] = useState(false);
  const revoke = useMutation({ mutationFn: () => remove(placeOf(share.name)), onSettled: () => client.invalidateQueries({ queryKey: ["shares"] }) });
  if (!asked) return <Button size="compact-sm" variant="default" onClick={() => setAsked(true)}>{t("share.revoke")}</Button>;
  return (
    <Group gap="xs">
      <Text size="sm">{t("share.forGood")}</Text>
      <Button size="compact-sm" color="red" onClick={() => revoke.mutate()} loading={revoke.isPending}>{t("share.revoke")}</Button>
      <Button size="compact-sm" variant="default" onClick={() => setAsked(false)}>{t("tokens.keep")}</Button>
      <ErrorState error={revoke.error} />
    </Group>
  );
}
