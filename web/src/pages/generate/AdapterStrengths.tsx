import { Group, Slider, Text } from "@mantine/core";
import type { Model } from "../../api/types";
import { changeDraft, useDraft } from "./draft";
import { useTranslation } from "react-i18next";

/** A slider for each adapter of a model. */
export function AdapterStrengths({ model }: { model: Model }) {
  const { t } = useTranslation();
  const { strengths } = useDraft();
  return model.adapters.map((one) => {
    const value = strengths[one.name] ?? one.strength;
    return (
      <div key={one.name}>
        <Group justify="space-between" wrap="nowrap">
          <Text size="sm" fw={500} truncate>{t("generate.strengthOf", { name: one.name })}</Text>
          <Text size="sm" className="num">{value.toFixed(2)}</Text>
        </Group>
        <Slider min={0} max={1.5} step={0.05} value={value} onChange={(next) => changeDraft({ strengths: { ...strengths, [one.name]: next } })} marks={[{ value: one.strength }]} label={null} thumbLabel={t("generate.strengthOf", { name: one.name })} />
      </div>
    );
  });
}
