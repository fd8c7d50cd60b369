import { Stack, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { basesQuery } from "../../api/pages";
import { useScope } from "../../api/queries";
import { PageHead } from "../../components/PageHead";
import { ShowAsCode } from "../../components/ShowAsCode";
import { ErrorState, LoadingState } from "../../components/States";
import { BaseCard } from "./BaseCard";
import { Fetch } from "./Fetch";
import { Served } from "./Served";
import { useFetches } from "./useFetches";

export function Models() {
  const { t } = useTranslation();
  const mayTrain = useScope("train");
  return (
    <div className="page">
      <PageHead title={t("pages.models.title")} text={t("pages.models.text")}>
        <ShowAsCode compact example={() => (mayTrain ? { command: "bakehouse models list --here", method: "GET", path: "/bases" } : { method: "GET", path: "/models" })} />
      </PageHead>
      <Stack gap={38}>
        <Served />
        {mayTrain && <Bases />}
      </Stack>
    </div>
  );
}

function Bases() {
  const { t } = useTranslation();
  const { data: bases = [], isPending, error, refetch } = useQuery(basesQuery);
  const fetches = useFetches();
  const [hidden, setHidden] = useState<string[]>([]);
  const here = bases.filter((one) => one.is_here && !hidden.includes(one.name));
  const there = bases.filter((one) => !one.is_here);
  return (
    <>
      <section>
        <Title order={2} fz={18} mb="sm">{t("pages.models.here")}</Title>
        {isPending && <LoadingState what={t("pages.models.loading")} />}
        <ErrorState error={error} onRetry={() => void refetch()} />
        <Stack gap="sm">
          {here.map((one) => <BaseCard key={one.name} base={one} onHide={(isHidden) => setHidden((was) => (isHidden ? [...was, one.name] : was.filter((name) => name !== one.name)))} />)}
        </Stack>
      </section>
      {!isPending && !error && <Fetch bases={there} fetches={fetches} />}
    </>
  );
}
