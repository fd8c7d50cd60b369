import { Button, Group, Input, SegmentedControl, Stack, Text, Title } from "@mantine/core";
import { IconArrowRight } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { remove } from "../api/client";
import { meQuery, queryClient } from "../api/queries";
import { ColorSchemeMenu } from "../app/ColorSchemeMenu";
import { PageHead } from "../components/PageHead";
import { ErrorState } from "../components/States";
import { chooseLanguage, type Language, LANGUAGES } from "../i18n";

export function Settings() {
  const { t, i18n } = useTranslation();
  const { data: me } = useQuery(meQuery);
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
        <Button component={Link} to="/models" variant="default" rightSection={<IconArrowRight size={17} aria-hidden />}>{t("pages.nav.models")}</Button>
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
