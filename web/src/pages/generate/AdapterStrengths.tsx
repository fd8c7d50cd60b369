import { Group, Slider, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { Model } from "../../api/types";
import { changeDraft, useDraft } from "./draft";

/** A slider for each adapter of a model. */
export function AdapterStrengths({ model }: { model: Model }) {
  const { strengths } = useDraft();
  return model.adapters.map((one) => (
    <AdapterSlider key={one.name} adapter={one} value={strengths[one.name] ?? one.strength} onChange={(next) => changeDraft({ strengths: { ...strengths, [one.name]: next } })} />
  ));
}

interface Props {
  adapter: Model["adapters"][number];
  value: number;
  onChange: (value: number) => void;
}

/** The slider of one adapter; its ends are the strengths at which its training found it to work, where it measured them. */
export function AdapterSlider({ adapter, value, onChange }: Props) {
  const { t } = useTranslation();
  const [low, high] = adapter.range ?? [Math.min(0, adapter.strength), Math.max(1.5, adapter.strength)];
  return (
    <div>
      <Group justify="space-between" wrap="nowrap">
        <Text size="sm" fw={500} truncate>{t("generate.strengthOf", { name: adapter.name })}</Text>
        <Text size="sm" className="num">{value.toFixed(2)}</Text>
      </Group>
      <Slider min={low} max={high} step={0.05} value={value} onChange={onChange} startPointValue={low < 0 ? 0 : low} marks={[...new Set([adapter.strength, ...(low < 0 ? [0] : [])])].map((mark) => ({ value: mark }))} label={null} thumbLabel={t("generate.strengthOf", { name: adapter.name })} />
      {adapter.range && <Text size="xs" c="dimmed" mt={2}>{t("canvas.measuredRange", { low, high })}</Text>}
    </div>
  );
}
