import { Button, Group, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { get, put } from "../../api/client";
import { runQuery } from "../../api/queries";
import type { Run } from "../../api/types";
import { ErrorState, LoadingState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { RecipeForm } from "../recipe/RecipeForm";
import { type Schema, split, type Values } from "../recipe/schema";
import { schemaQuery, useRecipePlan } from "../recipe/useRecipePlan";

/** The settings of a training that has not begun. */
export function EditRecipe({ run }: { run: Run }) {
  const { t } = useTranslation();
  const schema = useQuery(schemaQuery);
  const recipe = useQuery({ queryKey: ["recipe", run.name], queryFn: () => get<{ recipe: Values }>(`/runs/${encodeURIComponent(run.name)}/recipe`) });
  if (schema.error ?? recipe.error) return <ErrorState error={schema.error ?? recipe.error} onRetry={() => void Promise.all([schema.refetch(), recipe.refetch()])} />;
  if (!schema.data || !recipe.data) return <LoadingState what={t("runs.form.loading")} />;
  return <Form key={JSON.stringify(recipe.data.recipe)} run={run} recipe={recipe.data.recipe} schema={schema.data} />;
}

function Form({ run, recipe, schema }: { run: Run; recipe: Values; schema: Schema }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [{ core, settings: kept }] = useState(() => split(recipe, schema));
  const [settings, setSettings] = useState(kept);
  const planned = useRecipePlan({ recipe: core }, settings);
  const path = `/runs/${encodeURIComponent(run.name)}/recipe`;
  const save = useMutation({
    mutationFn: () => put<Run>(path, planned.body),
    onSuccess: async (row) => {
      client.setQueryData(runQuery(run.name).queryKey, row);
      await client.invalidateQueries({ queryKey: ["recipe", run.name] });
      notifications.show({ message: t("runs.form.saved") });
    },
  });
  const isChanged = JSON.stringify(settings) !== JSON.stringify(kept);
  return (
    <Stack gap="md">
      <Text c="dimmed">{t("runs.form.editText")}</Text>
      <RecipeForm settings={settings} onSettings={setSettings} of={planned} />
      <ErrorState error={save.error} />
      <Group justify="flex-end" gap="sm">
        {isChanged && <Text size="sm" c="dimmed" role="status">{t("runs.form.changed")}</Text>}
        <ShowAsCode compact example={() => ({ method: "PUT", path, body: planned.body })} />
        <Button onClick={() => save.mutate()} loading={save.isPending} disabled={!isChanged || !planned.isCurrent}>{t("runs.form.save")}</Button>
      </Group>
    </Stack>
  );
}
