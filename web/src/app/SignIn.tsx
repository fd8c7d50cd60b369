import { Alert, Button, Center, Code, Group, Paper, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError, NO_ANSWER, post } from "../api/client";
import { meQuery, queryClient } from "../api/queries";
import { ConnectionBanner } from "./Connection";
import { LoadingState } from "../components/States";

/** Sign in with the token in the link that `bakehouse serve` prints, and take it out of the address. */
export async function signInByLink(): Promise<void> {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found?.[1]) return;
  history.replaceState(null, "", `${location.pathname}#/`);
  await post("/session", { token: decodeURIComponent(found[1]) }).catch(() => undefined); // `SignedIn` asks for another
}

export function SignedIn({ children }: { children: ReactNode }) {
  const me = useQuery(meQuery);
  const { t } = useTranslation();
  if (me.data && !isUnauthorized(me.error)) return children;
  if (isUnauthorized(me.error)) return <SignIn />;
  return (
    <>
      <ConnectionBanner />
      <Center mih="80dvh"><LoadingState what={t("connection.starting")} /></Center>
    </>
  );
}

const isUnauthorized = (error: unknown) => error instanceof ApiError && error.status === 401;

function SignIn() {
  const { t } = useTranslation();
  const [token, setToken] = useState("");
  const signIn = useMutation({
    mutationFn: () => post("/session", { token: token.trim() }),
    onSuccess: () => queryClient.resetQueries(),
  });
  const wrong = signIn.error instanceof ApiError ? signIn.error : null;
  return (
    <Center mih="100dvh" p="md" component="main">
      <Paper className="card" maw={440} w="100%">
        <form onSubmit={(event) => { event.preventDefault(); signIn.mutate(); }}>
          <Stack>
            <Group gap={12}>
              <img src="./icon.svg" alt="" width={38} height={38} />
              <Title order={1} fz={22}>bakehouse</Title>
            </Group>
            <Text>{t("signIn.text")}</Text>
            <PasswordInput label={t("signIn.token")} value={token} onChange={(event) => setToken(event.currentTarget.value)} placeholder="bh_…" autoFocus required visibilityToggleButtonProps={{ "aria-label": t("signIn.show") }} />
            {wrong && <Alert color="red" role="alert">{wrong.status === NO_ANSWER ? t("connection.lost") : t("signIn.wrong")}</Alert>}
            <Button type="submit" size="md" loading={signIn.isPending} disabled={!token.trim()}>{t("signIn.button")}</Button>
            <Text size="sm" c="dimmed">{t("signIn.where")} <Code>bakehouse tokens add NAME</Code></Text>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
