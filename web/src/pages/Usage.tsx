import { Alert, Badge, Button, Code, CopyButton, Group, Modal, MultiSelect, NumberInput, Select, SimpleGrid, Stack, Table, Text, TextInput, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChartBar, IconDownload, IconKey, IconPlus } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { address, post, remove } from "../api/client";
import { meQuery, tokensQuery, usageQuery, useScope } from "../api/queries";
import type { Token, UsageRow } from "../api/types";
import { EmptyState, ErrorState, LoadingState } from "../components/States";
import { PageHead } from "../components/PageHead";
import { ShowAsCode } from "../components/ShowAsCode";

export function Usage() {
  const { t } = useTranslation();
  const isAdmin = useScope("admin");
  return (
    <Stack className="page" gap={36}>
      <Month />
      {isAdmin && <Tokens />}
      <Text size="sm" c="dimmed">{t("usage.utc")}</Text>
    </Stack>
  );
}

const monthOf = (back: number) => {
  const day = new Date();
  return new Date(Date.UTC(day.getUTCFullYear(), day.getUTCMonth() - back, 1)).toISOString().slice(0, 7);
};

function Month() {
  const { t, i18n } = useTranslation();
  const [month, setMonth] = useState(monthOf(0));
  const { data: rows = [], isPending, error, refetch } = useQuery(usageQuery(month));
  const { data: me } = useQuery(meQuery);
  const number = (value: number) => value.toLocaleString(i18n.language);
  const totals = rows.reduce((sum, row) => ({ pictures: sum.pictures + row.pictures, characters: sum.characters + row.characters, seconds: sum.seconds + row.seconds }), { pictures: 0, characters: 0, seconds: 0 });
  const monthText = (value: string) => new Date(`${value}-15T00:00Z`).toLocaleDateString(i18n.language, { month: "long", year: "numeric" });
  return (
    <div>
      <PageHead title={t("usage.title")} text={t("usage.text")}>
        <Select aria-label={t("usage.month")} w={190} value={month} onChange={(value) => value && setMonth(value)} data={[0, 1, 2, 3, 4, 5].map((back) => ({ value: monthOf(back), label: monthText(monthOf(back)) }))} allowDeselect={false} />
        <Button component="a" href={address("/usage.csv", { month })} download={`usage-${month}.csv`} variant="default" leftSection={<IconDownload size={17} aria-hidden />}>CSV</Button>
        <ShowAsCode compact example={() => ({ command: `bakehouse tokens usage --month ${month}`, method: "GET", path: `/usage?month=${month}` })} />
      </PageHead>
      <SimpleGrid cols={{ base: 1, xs: 3 }} mb="lg">
        <Figure label={t("usage.pictures")} value={number(totals.pictures)} limit={me?.quota.pictures_per_month} />
        <Figure label={t("usage.characters")} value={number(totals.characters)} limit={me?.quota.characters_per_month} />
        <Figure label={t("usage.minutes")} value={(totals.seconds / 60).toLocaleString(i18n.language, { maximumFractionDigits: 1 })} />
      </SimpleGrid>
      {isPending && <LoadingState what={t("usage.loading")} />}
      <ErrorState error={error} onRetry={() => void refetch()} />
      {!isPending && !error && rows.length === 0 && <EmptyState icon={IconChartBar} title={t("usage.emptyTitle")}>{t("usage.emptyText")}</EmptyState>}
      {rows.length > 0 && <ByToken rows={rows} />}
    </div>
  );
}

function Figure({ label, value, limit }: { label: string; value: string; limit?: number | null | undefined }) {
  const { t, i18n } = useTranslation();
  return (
    <div className="card">
      <Text size="sm" c="dimmed">{label}</Text>
      <Text fz={28} fw={600} className="num" lh={1.25}>{value}</Text>
      {limit != null && <Text size="sm" c="dimmed">{t("usage.of", { limit: limit.toLocaleString(i18n.language) })}</Text>}
    </div>
  );
}

function ByToken({ rows }: { rows: UsageRow[] }) {
  const { t, i18n } = useTranslation();
  const groups = new Map<string, { token: string; model: string; requests: number; pictures: number; characters: number; seconds: number }>();
  for (const row of rows) {
    const key = `${row.token}\n${row.model}`;
    const sum = groups.get(key) ?? { token: row.token, model: row.model, requests: 0, pictures: 0, characters: 0, seconds: 0 };
    groups.set(key, { ...sum, requests: sum.requests + 1, pictures: sum.pictures + row.pictures, characters: sum.characters + row.characters, seconds: sum.seconds + row.seconds });
  }
  const number = (value: number) => Math.round(value).toLocaleString(i18n.language);
  return (
    <Table.ScrollContainer minWidth={560} className="card" p={8} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
      <Table>
        <Table.Thead><Table.Tr><Table.Th>{t("usage.token")}</Table.Th><Table.Th>{t("generate.model")}</Table.Th><Table.Th ta="right">{t("usage.requests")}</Table.Th><Table.Th ta="right">{t("usage.pictures")}</Table.Th><Table.Th ta="right">{t("usage.characters")}</Table.Th><Table.Th ta="right">{t("usage.seconds")}</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {[...groups.values()].sort((a, b) => b.pictures - a.pictures).map((row) => (
            <Table.Tr key={`${row.token} ${row.model}`} className="num">
              <Table.Td>{row.token}</Table.Td><Table.Td>{row.model}</Table.Td><Table.Td ta="right">{number(row.requests)}</Table.Td><Table.Td ta="right">{number(row.pictures)}</Table.Td><Table.Td ta="right">{number(row.characters)}</Table.Td><Table.Td ta="right">{number(row.seconds)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function Tokens() {
  const { t, i18n } = useTranslation();
  const client = useQueryClient();
  const { data: tokens = [], isPending, error, refetch } = useQuery(tokensQuery);
  const [opened, { open, close }] = useDisclosure();
  const revoke = useMutation({ mutationFn: (name: string) => remove(`/tokens/${encodeURIComponent(name)}`), onSettled: () => client.invalidateQueries({ queryKey: ["tokens"] }) });
  const [asked, setAsked] = useState<string | null>(null);
  return (
    <section>
      <Group justify="space-between" mb="sm">
        <div><Title order={2} fz={18}>{t("tokens.title")}</Title><Text c="dimmed">{t("tokens.text")}</Text></div>
        <Group gap="xs">
          <ShowAsCode compact example={() => ({ command: "bakehouse tokens add laptop --scope draw --pictures 1000", method: "POST", path: "/tokens", body: { name: "laptop", scopes: ["draw"], quota: { pictures_per_month: 1000 } } })} />
          <Button leftSection={<IconPlus size={17} aria-hidden />} onClick={open}>{t("tokens.add")}</Button>
        </Group>
      </Group>
      {isPending && <LoadingState what={t("tokens.loading")} />}
      <ErrorState error={error ?? revoke.error} onRetry={() => void refetch()} />
      {!isPending && !error && tokens.length === 0 && <EmptyState icon={IconKey} title={t("tokens.emptyTitle")}>{t("tokens.emptyText")}</EmptyState>}
      <Stack gap="xs">
        {tokens.map((token) => (
          <Group key={token.name} className="card" p="sm" justify="space-between" opacity={token.revoked ? 0.75 : 1}>
            <div>
              <Group gap={8}><Text fw={600}>{token.name}</Text>{token.scopes.map((scope) => <Badge key={scope} variant="light" tt="none">{scope}</Badge>)}</Group>
              <Text size="sm" c="dimmed">{t("tokens.made", { date: new Date(token.created * 1000).toLocaleDateString(i18n.language) })} · <Limits token={token} /></Text>
            </div>
            {token.revoked ? <Text size="sm" c="dimmed">{t("tokens.revoked")}</Text> : asked === token.name ? (
              <Group gap="xs"><Text size="sm">{t("tokens.forGood")}</Text><Button size="compact-sm" color="red" onClick={() => revoke.mutate(token.name)} loading={revoke.isPending}>{t("tokens.revoke")}</Button><Button size="compact-sm" variant="default" onClick={() => setAsked(null)}>{t("tokens.keep")}</Button></Group>
            ) : <Button size="compact-sm" variant="default" onClick={() => setAsked(token.name)}>{t("tokens.revoke")}</Button>}
          </Group>
        ))}
      </Stack>
      <NewToken opened={opened} close={close} />
    </section>
  );
}

function Limits({ token }: { token: Token }) {
  const { t, i18n } = useTranslation();
  const { pictures_per_month: pictures, requests_per_minute: requests } = token.quota;
  const parts = [...(pictures ? [t("tokens.picturesAMonth", { limit: pictures.toLocaleString(i18n.language) })] : []), ...(requests ? [t("tokens.requestsAMinute", { limit: requests })] : [])];
  return parts.length ? parts.join(", ") : t("tokens.noLimits");
}

function NewToken({ opened, close }: { opened: boolean; close: () => void }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["draw"]);
  const [pictures, setPictures] = useState<number | string>("");
  const [requests, setRequests] = useState<number | string>("");
  const add = useMutation({
    mutationFn: () => post<Token & { token: string }>("/tokens", { name: name.trim(), scopes, quota: { ...(pictures ? { pictures_per_month: Number(pictures) } : {}), ...(requests ? { requests_per_minute: Number(requests) } : {}) } }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["tokens"] }),
  });
  const end = () => {
    add.reset();
    setName("");
    close();
  };
  return (
    <Modal opened={opened} onClose={end} title={t("tokens.add")} closeButtonProps={{ "aria-label": t("common.close") }}>
      {add.data ? (
        <Stack>
          <Alert color="green">{t("tokens.once")}</Alert>
          <Code block style={{ overflowWrap: "anywhere", whiteSpace: "pre-wrap" }}>{add.data.token}</Code>
          <CopyButton value={add.data.token}>{({ copied, copy }) => <Button onClick={copy}>{copied ? t("code.copied") : t("code.copy")}</Button>}</CopyButton>
        </Stack>
      ) : (
        <form onSubmit={(event) => { event.preventDefault(); add.mutate(); }}>
          <Stack>
            <TextInput label={t("tokens.name")} description={t("tokens.nameText")} required value={name} onChange={(event) => setName(event.currentTarget.value)} data-autofocus />
            <MultiSelect label={t("tokens.scopes")} required value={scopes} onChange={setScopes} data={["read", "draw", "train", "admin"].map((value) => ({ value, label: t(`tokens.scope.${value as "read"}`) }))} />
            <Group grow><NumberInput label={t("tokens.pictures")} placeholder={t("tokens.noLimit")} min={1} value={pictures} onChange={setPictures} /><NumberInput label={t("tokens.requests")} placeholder={t("tokens.noLimit")} min={1} value={requests} onChange={setRequests} /></Group>
            <ErrorState error={add.error} />
            <Button type="submit" loading={add.isPending} disabled={!name.trim() || scopes.length === 0}>{t("tokens.create")}</Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
