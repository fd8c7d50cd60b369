import { Button, Group, Input, SegmentedControl, Stack, Table, Text, Title } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { remove } from "../api/client";
import { meQuery, modelsQuery, queryClient } from "../api/queries";
import { ColorSchemeMenu } from "../app/ColorSchemeMenu";
import { PageHead } from "../components/PageHead";
import { ErrorState } from "../components/States";
import { chooseLanguage, type Language, LANGUAGES } from "../i18n";

export function Settings() {
  const { t, i18n } = useTranslation();
  const { data: me } = useQuery(meQuery);
  const { data: models = [] } = useQuery(modelsQuery);
  const signOut = useMutation({ mutationFn: () => remove("/session"), onSuccess: () => queryClient.resetQueries() });
  return (
    <Stack className="page" gap={36} maw={760}>
      <PageHead title={t("settings.title")} />
      <Stack className="card" gap="lg" mt={-30}>
        <Input.Wrapper label={t("settings.language")} labelElement="div">
          <SegmentedControl fullWidth aria-label={t("settings.language")} value={i18n.language} data={Object.entries(LANGUAGES).map(([value, label]) => ({ value, label }))} onChange={(value) => void chooseLanguage(value as Language)} />
        </Input.Wrapper>
        <Input.Wrapper label={t("colors.label")} labelElement="div"><ColorSchemeMenu /></Input.Wrapper>
      </Stack>
      <section>
        <Title order={2} fz={18} mb="sm">{t("settings.models")}</Title>
        <Text c="dimmed" mb="sm">{t("settings.modelsText")}</Text>
        <Table.ScrollContainer minWidth={420} className="card" p={8} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
          <Table>
            <Table.Thead><Table.Tr><Table.Th>{t("settings.name")}</Table.Th><Table.Th>{t("settings.size")}</Table.Th><Table.Th>{t("settings.state")}</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {models.map((model) => (
                <Table.Tr key={model.name}>
                  <Table.Td><Text fw={500}>{model.name}</Text><Text size="sm" c="dimmed">{model.title}</Text></Table.Td>
                  <Table.Td className="num">{model.native_size} × {model.native_size}</Table.Td>
                  <Table.Td>{model.state}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </section>
      <section>
        <Title order={2} fz={18} mb="sm">{t("settings.session")}</Title>
        <Group className="card" justify="space-between">
          <Text>{t("settings.signedIn", { name: me?.name ?? "", scopes: me?.scopes.join(", ") ?? "" })}</Text>
          <Button variant="default" onClick={() => signOut.mutate()} loading={signOut.isPending}>{t("settings.signOut")}</Button>
        </Group>
        <ErrorState error={signOut.error} />
      </section>
    </Stack>
  );
}
