import { Alert, Button, Group, Loader, Stack, Text, ThemeIcon, Title } from "@mantine/core";
import { type Icon, IconAlertTriangle } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, NO_ANSWER } from "../api/client";

/** What is awaited, in words. */
export function LoadingState({ what }: { what: string }) {
  return (
    <Group gap="sm" py="lg" role="status" c="dimmed">
      <Loader size={18} />
      <Text>{what}</Text>
    </Group>
  );
}

/** Nothing is here yet, why, and what to do. */
export function EmptyState({ icon: Shown, title, children }: { icon: Icon; title: string; children: ReactNode }) {
  return (
    <Stack align="center" ta="center" gap="xs" py={{ base: 36, sm: 64 }} px="md">
      <ThemeIcon size={56} radius="xl" variant="light" mb={6}><Shown size={28} stroke={1.5} aria-hidden /></ThemeIcon>
      <Title order={2} fz={19}>{title}</Title>
      <Text c="dimmed" maw={460} component="div">{children}</Text>
    </Stack>
  );
}

/** What failed, and what to do about it. */
export function ErrorState({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  return error ? <Failure error={error} {...(onRetry ? { onRetry } : {})} /> : null;
}

/** A component of its own: its hooks are there from the first time that it is shown. */
function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { t } = useTranslation();
  const [message, hint] = useErrorText(error);
  if (!error) return null;
  return (
    <Alert color="red" icon={<IconAlertTriangle aria-hidden />} title={message} my="md" role="alert" styles={{ title: { whiteSpace: "pre-line" } }}>
      {hint && <Text size="sm">{hint}</Text>}
      {onRetry && <Button mt="sm" size="xs" variant="default" onClick={onRetry}>{t("common.again")}</Button>}
    </Alert>
  );
}

/** Message and hint of any error. */
export function useErrorText(error: unknown): [string, string] {
  const { t } = useTranslation();
  if (error instanceof ApiError) {
    if (error.status === NO_ANSWER) return [t("errors.noAnswer"), t("errors.noAnswerHint")];
    if (error.status === 403) return [t("errors.forbidden"), error.message];
    return [error.message, error.hint];
  }
  return [t("errors.page"), error instanceof Error ? error.message : String(error)];
}
