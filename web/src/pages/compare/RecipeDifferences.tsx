import { Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { ErrorState, LoadingState } from "../../components/States";
import { type Field, fieldsOf, shown, valueAt, type Values } from "../recipe/schema";
import { schemaQuery } from "../recipe/useRecipePlan";
import { RunMark } from "./CompareRuns";

interface Row {
  key: string;
  values: string[];
}

const ABOUT = ["kind", "model.base", "concepts.0.subject", "concepts.0.folder"];

/** The settings in which trainings differ. What a recipe leaves out has its usual value. */
export function RecipeDifferences({ names, recipes }: { names: string[]; recipes: Values[] }) {
  const { t } = useTranslation();
  const schema = useQuery(schemaQuery);
  if (schema.error) return <ErrorState error={schema.error} onRetry={() => void schema.refetch()} />;
  if (!schema.data) return <LoadingState what={t("runs.form.loading")} />;
  const fields = recipes.map((recipe) => new Map(fieldsOf(schema.data, recipe).map((field) => [field.key, field])));
  const keys = [...new Set([...ABOUT, ...fields.flatMap((one) => [...one.keys()])])];
  const rows = keys.map((key) => ({ key, values: recipes.map((recipe, i) => valueOf(recipe, key, fields[i]?.get(key))) }));
  const different = rows.filter((row) => new Set(row.values).size > 1 && !isUsual(row, fields));
  if (different.length === 0) return <Text>{t("runs.compare.same")}</Text>;
  return (
    <>
      <Table.ScrollContainer minWidth={160 + 150 * names.length} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }}>
      <Table fz="sm" verticalSpacing={8}>
        <Table.Thead><Table.Tr><Table.Th>{t("plan.setting")}</Table.Th>{names.map((name, i) => <Table.Th key={name}><span className="run-name"><RunMark number={i} />{name}</span></Table.Th>)}</Table.Tr></Table.Thead>
        <Table.Tbody>{different.map((row) => <DifferentRow key={row.key} row={row} />)}</Table.Tbody>
      </Table>
      </Table.ScrollContainer>
      <Text size="sm" c="dimmed" mt="sm">{t("runs.compare.alike", { count: rows.length - different.length })}</Text>
    </>
  );
}

/** Whether a setting that only some kinds of adapters have is at its usual value in all that have it. */
function isUsual(row: Row, fields: Map<string, Field>[]): boolean {
  if (ABOUT.includes(row.key) || fields.every((one) => one.has(row.key))) return false;
  return fields.every((one, i) => {
    const field = one.get(row.key);
    return field === undefined || row.values[i] === shown(field.usual, field.control);
  });
}

function DifferentRow({ row }: { row: Row }) {
  return <Table.Tr><Table.Th scope="row" fw={400}><code className="key">{row.key}</code></Table.Th>{row.values.map((value, i) => <Table.Td key={i} className="num" style={{ whiteSpace: "pre-line" }}>{value || "–"}</Table.Td>)}</Table.Tr>;
}

function valueOf(recipe: Values, key: string, field: Field | undefined): string {
  const value = valueAt(recipe, key) ?? field?.usual;
  return shown(value, field?.control ?? "text");
}
