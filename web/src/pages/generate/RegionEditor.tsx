import { ActionIcon, Button, Collapse, Group, Menu, Slider, Stack, Text, Textarea, Tooltip, UnstyledButton } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconChevronDown, IconLayoutGridAdd, IconTrash } from "@tabler/icons-react";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Model } from "../../api/types";
import type { Box } from "../../components/painting/boxes";
import { LoadingState } from "../../components/States";
import { AdapterSlider } from "./AdapterStrengths";
import { changeDraft, type DraftRegion, drawnSize, newRegion, useDraft } from "./draft";

const BoxStage = lazy(async () => ({ default: (await import("../../components/painting/BoxStage")).BoxStage }));

const MOST = 16;
const COLORS = ["#c2540a", "#1c7ed6", "#2b8a3e", "#9c36b5", "#e8a206", "#0b7285", "#c2255c", "#5f574e"];
export const colorOf = (index: number) => COLORS[index % COLORS.length] ?? "#c2540a";

const third = (number: number): Box => ({ left: [0, 33.33, 66.67][number] ?? 0, top: 0, right: [33.33, 66.67, 100][number] ?? 100, bottom: 100 });
const PRESETS: Record<"halves" | "thirds" | "rows", Box[]> = {
  halves: [{ left: 0, top: 0, right: 50, bottom: 100 }, { left: 50, top: 0, right: 100, bottom: 100 }],
  thirds: [third(0), third(1), third(2)],
  rows: [{ left: 0, top: 0, right: 100, bottom: 50 }, { left: 0, top: 50, right: 100, bottom: 100 }],
};
const FREE: Box = { left: 25, top: 25, right: 75, bottom: 75 };

/** Parts of the picture with prompts and adapters of their own, drawn on a small stage of its shape. */
export function RegionEditor({ model }: { model: Model | undefined }) {
  const { t } = useTranslation();
  const draft = useDraft();
  const { regions } = draft;
  const [opened, setOpened] = useState(regions.length > 0);
  return (
    <div>
      <UnstyledButton onClick={() => setOpened(!opened)} aria-expanded={opened} className="focusable" style={{ width: "100%", borderRadius: 8, padding: "4px 0" }}>
        <Group gap={8} wrap="nowrap">
          <IconLayoutGridAdd size={18} stroke={1.7} aria-hidden />
          <span style={{ flex: 1, fontWeight: 500, fontSize: 15 }}>{regions.length ? t("canvas.regions.some", { count: regions.length }) : t("canvas.regions.title")}</span>
          <IconChevronDown size={18} style={{ transform: opened ? "rotate(180deg)" : "none" }} aria-hidden />
        </Group>
      </UnstyledButton>
      <Collapse expanded={opened}>
        {opened && (
          <Suspense fallback={<LoadingState what={t("canvas.loading")} />}>
            <Regions model={model} />
          </Suspense>
        )}
      </Collapse>
    </div>
  );
}

function Regions({ model }: { model: Model | undefined }) {
  const { t } = useTranslation();
  const draft = useDraft();
  const { regions, image } = draft;
  const [selected, setSelected] = useState<string | null>(regions[0]?.id ?? null);
  const [width, height] = drawnSize(draft, model?.native_size ?? 512);
  const isFull = regions.length >= MOST;
  const change = (id: string, by: Partial<DraftRegion>) => changeDraft({ regions: regions.map((one) => (one.id === id ? { ...one, ...by } : one)) });
  const add = (box: Box) => {
    if (isFull) return;
    const region = newRegion(box);
    changeDraft({ regions: [...regions, region] });
    setSelected(region.id);
  };
  const withUndo = (next: DraftRegion[]) => {
    const before = regions;
    changeDraft({ regions: next });
    const undo = () => {
      notifications.hide("regions");
      changeDraft({ regions: before });
    };
    if (before.some((one) => one.prompt.trim())) notifications.show({ id: "regions", autoClose: 8_000, message: <Group justify="space-between"><Text size="sm">{t("canvas.regions.removed")}</Text><Button size="compact-sm" variant="default" onClick={undo}>{t("common.undo")}</Button></Group> });
  };
  /** Prompts stay with the regions of the same number. */
  const preset = (boxes: Box[]) => {
    const next = boxes.map((box, i) => ({ ...(regions[i] ?? newRegion(box)), box }));
    if (next.length < regions.length) withUndo(next);
    else changeDraft({ regions: next });
    setSelected(next[0]?.id ?? null);
  };
  return (
    <Stack gap="sm" pt="sm">
      <Text size="xs" c="dimmed">{t("canvas.regions.text")}</Text>
      <Group gap={6}>
        {(Object.keys(PRESETS) as (keyof typeof PRESETS)[]).map((name) => <Button key={name} size="compact-sm" variant="default" onClick={() => preset(PRESETS[name])}>{t(`canvas.regions.${name}`)}</Button>)}
        <Button size="compact-sm" variant="default" disabled={isFull} onClick={() => add(FREE)}>{t("canvas.regions.box")}</Button>
        {regions.length > 0 && <Button size="compact-sm" variant="subtle" color="gray" onClick={() => withUndo([])}>{t("canvas.regions.none")}</Button>}
      </Group>
      <BoxStage
        ratio={width / height} image={image?.data ?? null} label={t("canvas.regions.stage")} tallest="40dvh"
        boxes={regions.map((one, i) => ({ id: one.id, box: one.box, name: String(i + 1), color: colorOf(i) }))}
        selected={selected} onSelect={setSelected} onChange={(id, box) => change(id, { box })} onAdd={add}
        onRemove={(id) => withUndo(regions.filter((one) => one.id !== id))}
      />
      {regions.map((one, i) => (
        <RegionRow key={one.id} region={one} number={i + 1} model={model} onFocus={() => setSelected(one.id)} onChange={(by) => change(one.id, by)} onRemove={() => withUndo(regions.filter((other) => other.id !== one.id))} />
      ))}
      {regions.length > 0 && <Blending />}
    </Stack>
  );
}

interface RowProps {
  region: DraftRegion;
  number: number;
  model: Model | undefined;
  onFocus: () => void;
  onChange: (by: Partial<DraftRegion>) => void;
  onRemove: () => void;
}

function RegionRow({ region, number, model, onFocus, onChange, onRemove }: RowProps) {
  const { t } = useTranslation();
  const adapters = model?.adapters ?? [];
  const there = adapters.filter((one) => region.strengths[one.name] !== undefined);
  const others = adapters.filter((one) => region.strengths[one.name] === undefined);
  const without = (name: string) => Object.fromEntries(Object.entries(region.strengths).filter(([one]) => one !== name));
  return (
    <div className="region-row" style={{ "--box": colorOf(number - 1) } as React.CSSProperties} onFocus={onFocus}>
      <Group wrap="nowrap" align="flex-start" gap={8}>
        <Textarea
          style={{ flex: 1 }} autosize minRows={1} maxRows={6} aria-label={t("canvas.regions.prompt", { number })} placeholder={t("canvas.regions.prompt", { number })} value={region.prompt}
          onChange={(event) => onChange({ prompt: event.currentTarget.value })}
        />
        <Tooltip label={t("canvas.regions.remove", { number })}>
          <ActionIcon variant="subtle" color="gray" size={36} onClick={onRemove} aria-label={t("canvas.regions.remove", { number })}><IconTrash size={17} aria-hidden /></ActionIcon>
        </Tooltip>
      </Group>
      {there.map((one) => (
        <Group key={one.name} mt={8} wrap="nowrap" align="center" gap={8}>
          <div style={{ flex: 1, minWidth: 0 }}><AdapterSlider adapter={one} value={region.strengths[one.name] ?? one.strength} onChange={(value) => onChange({ strengths: { ...region.strengths, [one.name]: value } })} /></div>
          <ActionIcon variant="subtle" color="gray" size={36} onClick={() => onChange({ strengths: without(one.name) })} aria-label={t("canvas.regions.everywhere", { name: one.name })}><IconTrash size={16} aria-hidden /></ActionIcon>
        </Group>
      ))}
      {others.length > 0 && (
        <Menu position="bottom-start">
          <Menu.Target><Button mt={6} size="compact-xs" variant="subtle" color="gray">{t("canvas.regions.adapter")}</Button></Menu.Target>
          <Menu.Dropdown>{others.map((one) => <Menu.Item key={one.name} onClick={() => onChange({ strengths: { ...region.strengths, [one.name]: one.strength } })}>{one.name}</Menu.Item>)}</Menu.Dropdown>
        </Menu>
      )}
    </div>
  );
}

/** How much of the main prompt is in regions, and how soft their edges are. */
function Blending() {
  const { t } = useTranslation();
  const { regionBase, regionEdge } = useDraft();
  return (
    <>
      <div>
        <Group justify="space-between"><Text size="sm" fw={500}>{t("canvas.regions.base")}</Text><Text size="sm" className="num">{regionBase.toFixed(2)}</Text></Group>
        <Slider min={0} max={1} step={0.05} value={regionBase} onChange={(value) => changeDraft({ regionBase: value })} label={null} thumbLabel={t("canvas.regions.base")} />
      </div>
      <div>
        <Group justify="space-between"><Text size="sm" fw={500}>{t("canvas.regions.edge")}</Text><Text size="sm" className="num">{regionEdge} %</Text></Group>
        <Slider min={0} max={25} step={1} value={regionEdge} onChange={(value) => changeDraft({ regionEdge: value })} label={null} thumbLabel={t("canvas.regions.edge")} />
      </div>
    </>
  );
}
