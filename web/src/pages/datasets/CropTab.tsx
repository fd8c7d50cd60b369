import { ActionIcon, Button, Group, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { IconFaceId, IconPlus, IconTrash } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useTask } from "../../api/tasks";
import type { DatasetImage } from "../../api/types";
import { quoted } from "../../components/code";
import type { Box } from "../../components/painting/boxes";
import { BoxStage } from "../../components/painting/BoxStage";
import { ErrorState } from "../../components/States";
import { ShowAsCode } from "../../components/ShowAsCode";
import { TaskProgress } from "../../components/TaskProgress";
import { thumbnail } from "../newSubject/names";
import { useUndo } from "./useUndo";

const FRAMINGS = ["portrait", "upper_body", "cowboy_shot", "crop"] as const;
type Framing = (typeof FRAMINGS)[number];
const COLORS: Record<Framing, string> = { portrait: "#c2540a", upper_body: "#1c7ed6", cowboy_shot: "#2b8a3e", crop: "#9c36b5" };

interface Crop {
  id: string;
  framing: Framing;
  box: Box;
}
export interface Proposal {
  path: string;
  why: string;
  source?: string;
  box?: [number, number, number, number];
}
interface Proposals {
  proposals: Proposal[];
  notes?: string[];
}

let counted = 0;
const newCrop = (framing: Framing, box: Box): Crop => {
  counted += 1;
  return { id: `crop-${counted}`, framing, box };
};

/** Boxes on an image that become crops of their own, with captions adapted to the framing. */
export function CropTab({ dataset, image }: { dataset: string; image: DatasetImage }) {
  const { t } = useTranslation();
  const { refresh, offer } = useUndo(dataset);
  const [crops, setCrops] = useState<Crop[]>([]);
  const [selected, setSelected] = useState<string | null>(null);
  const [said, setSaid] = useState<string[] | null>(null);
  const looking = useTask(dataset, "preview");
  const applying = useTask(dataset, "operation");
  const place = `/datasets/${encodeURIComponent(dataset)}/operations`;
  const source = thumbnail(dataset, image.path, 1024, image.changed);
  const inPixels = ({ left, top, right, bottom }: Box) => [(left * image.width) / 100, (top * image.height) / 100, (right * image.width) / 100, (bottom * image.height) / 100].map(Math.round);
  const words = crops.flatMap((one) => ["--box", `${image.path}:${one.framing}:${inPixels(one.box).join(",")}`]);
  const body = (preview: boolean) => ({ operation: "dataset crop", arguments: words, preview });
  const change = (next: Crop[]) => {
    setCrops(next);
    setSaid(null);
  };
  const add = (box: Box, framing: Framing = "crop") => {
    const made = newCrop(framing, box);
    change([...crops, made]);
    setSelected(made.id);
  };
  const findFaces = async () => {
    const found = await looking.start<Proposals>(place, { operation: "dataset crop", arguments: ["--only", image.path], preview: true });
    if (!found) return;
    const made = found.proposals.flatMap((one) => {
      const framing = FRAMINGS.find((name) => one.path.includes(`-${name}`));
      if (!one.box || !framing) return [];
      const [left, top, right, bottom] = one.box;
      return [newCrop(framing, { left: (100 * left) / image.width, top: (100 * top) / image.height, right: (100 * right) / image.width, bottom: (100 * bottom) / image.height })];
    });
    change(made);
    setSelected(made[0]?.id ?? null);
    if (made.length === 0) setSaid(found.notes?.length ? found.notes : [t("canvas.set.crop.noFace")]);
  };
  const preview = async () => {
    const found = await looking.start<Proposals>(place, body(true));
    if (found) setSaid(found.proposals.map((one) => `${one.path}: ${one.why}`));
  };
  const apply = async () => {
    const done = await applying.start<{ number?: number }>(place, body(false));
    if (!done) return;
    const before = crops;
    change([]);
    await refresh();
    offer(t("canvas.set.crop.added", { count: before.length }), () => change(before));
  };
  return (
    <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="lg">
      <div>
        <BoxStage
          ratio={image.width / image.height} image={source} label={t("canvas.set.crop.stage", { name: image.path })} snap={false} tallest="56dvh"
          boxes={crops.map((one) => ({ id: one.id, box: one.box, name: t(`canvas.set.crop.framing.${one.framing}`), color: COLORS[one.framing] }))}
          selected={selected} onSelect={setSelected} onAdd={add} onChange={(id, box) => change(crops.map((one) => (one.id === id ? { ...one, box } : one)))} onRemove={(id) => change(crops.filter((one) => one.id !== id))}
        />
      </div>
      <Stack gap="sm">
        <Text size="sm" c="dimmed">{t("canvas.set.crop.text")}</Text>
        <Group gap="xs">
          <Button size="compact-md" variant="default" leftSection={<IconFaceId size={17} aria-hidden />} disabled={looking.task !== null} onClick={() => void findFaces()}>{t("canvas.set.crop.faces")}</Button>
          <Button size="compact-md" variant="default" leftSection={<IconPlus size={17} aria-hidden />} onClick={() => add({ left: 25, top: 10, right: 75, bottom: 60 }, "portrait")}>{t("canvas.regions.box")}</Button>
        </Group>
        {crops.map((one) => {
          const [left = 0, top = 0, right = 0, bottom = 0] = inPixels(one.box);
          return (
            <Group key={one.id} gap="sm" wrap="nowrap" className="region-row" style={{ "--box": COLORS[one.framing] } as React.CSSProperties} onFocus={() => setSelected(one.id)}>
              <div className="crop-preview" style={cropped(one.box, source, image.width / image.height)} aria-hidden />
              <div style={{ flex: 1, minWidth: 0 }}>
                <Select size="xs" allowDeselect={false} aria-label={t("canvas.set.crop.framingLabel")} value={one.framing} data={FRAMINGS.map((value) => ({ value, label: t(`canvas.set.crop.framing.${value}`) }))} onChange={(value) => value && change(crops.map((other) => (other.id === one.id ? { ...other, framing: value as Framing } : other)))} />
                <Text size="xs" c="dimmed" className="num" mt={3}>{right - left} × {bottom - top}</Text>
              </div>
              <ActionIcon variant="subtle" color="gray" size={36} onClick={() => change(crops.filter((other) => other.id !== one.id))} aria-label={t("canvas.set.crop.remove")}><IconTrash size={17} aria-hidden /></ActionIcon>
            </Group>
          );
        })}
        {looking.task && <TaskProgress task={looking.task} what={t("canvas.set.crop.looking")} />}
        {applying.task && <TaskProgress task={applying.task} what={t("canvas.set.crop.cropping")} />}
        {said && <div role="status" className="code" style={{ whiteSpace: "pre-line" }}>{said.join("\n")}</div>}
        <ErrorState error={looking.error ?? applying.error} />
        {crops.length > 0 && (
          <Group justify="flex-end" gap="xs">
            <ShowAsCode compact example={() => ({ command: ["bakehouse", "dataset", "crop", `datasets/${dataset}`, ...words].map(quoted).join(" "), method: "POST", path: place, body: body(false) })} />
            <Button variant="default" disabled={looking.task !== null} onClick={() => void preview()}>{t("bulk.preview")}</Button>
            <Button disabled={applying.task !== null} onClick={() => void apply()}>{t("canvas.set.crop.apply", { count: crops.length })}</Button>
          </Group>
        )}
      </Stack>
    </SimpleGrid>
  );
}

/** A part of an image as a background. */
function cropped({ left, top, right, bottom }: Box, source: string, ratio: number): React.CSSProperties {
  const [width, height] = [right - left, bottom - top];
  return {
    aspectRatio: (width * ratio) / height, backgroundImage: `url("${source}")`, backgroundSize: `${10_000 / width}% ${10_000 / height}%`,
    backgroundPosition: `${width < 100 ? (100 * left) / (100 - width) : 0}% ${height < 100 ? (100 * top) / (100 - height) : 0}%`,
  };
}
